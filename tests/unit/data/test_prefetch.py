import os
import threading
import time

import numpy as np
import pytest
import torch

from clusterlab.data.prefetch import Prefetch
from clusterlab.data.rows_on_disk import RowsOnDisk
from clusterlab.errors import UserError

NUM = 200


class Counted(RowsOnDisk):
    """Counts its reads, and does not end one while `held` is locked."""

    def __init__(self, mapped):
        super().__init__(mapped, remedy="make it again")
        self.reads = []
        self.held = threading.Lock()

    def read(self, index, into):
        with self.held:
            self.reads.append(index.tolist())
            super().read(index, into)


@pytest.fixture
def mapped(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (NUM, 3, 5, 5), dtype=np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    return np.load(tmp_path / "images.npy", mmap_mode="r")


@pytest.fixture
def rows(mapped):
    return Counted(mapped)


@pytest.fixture
def prefetch(rows):
    return Prefetch(rows, pinned=False)


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def wait_for_readers():
    end = time.monotonic() + 10
    while readers():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_an_announced_batch_is_read_meanwhile_and_once_for_all_its_views(mapped, rows, prefetch):
    index = np.array([8, 3, 3, 150])
    prefetch.announce(index)
    wait_for_readers()
    assert rows.reads == [[8, 3, 3, 150]]
    for _ in range(2):
        assert np.array_equal(prefetch.images(index), mapped[index])
    assert len(rows.reads) == 1


def test_a_batch_that_is_not_read_yet_is_waited_for(mapped, rows, prefetch):
    rows.held.acquire()
    prefetch.announce(np.array([1, 2]))
    threading.Timer(0.1, rows.held.release).start()
    assert np.array_equal(prefetch.images(np.array([1, 2])), mapped[[1, 2]])


@pytest.mark.parametrize("part", [[3], [3, 8], [150, 3, 8, 150]], ids=str)
def test_a_part_of_a_batch_is_served_in_its_own_order(mapped, rows, prefetch, part):
    prefetch.announce(np.array([8, 3, 3, 150]))
    assert np.array_equal(prefetch.images(np.array(part)), mapped[part])
    assert len(rows.reads) == 1


@pytest.mark.parametrize("index", [[], [4], [8, 4], [-1], [10**9]], ids=str)
def test_images_that_were_not_announced_are_not_served(prefetch, index):
    prefetch.announce(np.array([8, 3, 150]))
    assert prefetch.images(np.array(index, dtype=np.int64)) is None


def test_the_batch_of_the_step_is_kept_beside_the_next_and_then_let_go(mapped, prefetch):
    first, second, third = (np.arange(start, start + 4) for start in (0, 4, 8))
    prefetch.announce(first)
    prefetch.announce(second)
    assert np.array_equal(prefetch.images(first), mapped[first])
    prefetch.announce(third)
    assert prefetch.images(first) is None
    assert np.array_equal(prefetch.images(second), mapped[second])
    assert np.array_equal(prefetch.images(third), mapped[third])


def test_nothing_is_read_ahead_while_nobody_asks_for_it(mapped, rows, prefetch):
    batches = [np.arange(4 * i, 4 * i + 4) for i in range(8)]
    for batch in batches[:5]:
        prefetch.announce(batch)
    wait_for_readers()
    assert len(rows.reads) == 2  # then the first step was over without them
    assert np.array_equal(prefetch.images(batches[4]), mapped[batches[4]])  # read when asked for
    prefetch.announce(batches[5])
    prefetch.announce(batches[6])  # the step of batch 4 is over
    wait_for_readers()
    assert rows.reads[2:] == [batches[4].tolist(), batches[6].tolist()]


def test_an_error_of_the_reader_is_raised_where_the_images_are_asked_for(mapped, prefetch):
    index = np.array([199])
    os.truncate(mapped.filename, 1000)
    prefetch.announce(index)
    wait_for_readers()
    for _ in range(2):
        with pytest.raises(UserError, match="cut short"):
            prefetch.images(index)


def test_the_images_are_a_tensor_of_bytes(prefetch):
    prefetch.announce(np.array([1]))
    images = prefetch.images(np.array([1]))
    assert isinstance(images, torch.Tensor)
    assert images.dtype == torch.uint8
