import gc
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from on_disk import on_disk

from clusterlab.data import rows_on_disk
from clusterlab.data.rows_on_disk import RowsOnDisk
from clusterlab.errors import UserError

NUM = 200
PIXELS = np.random.default_rng(0).integers(0, 256, (NUM, 3, 5, 5), dtype=np.uint8)
INDICES = ([], [7], [0, NUM - 1], [5, 4, 3], [9, 9, 9], [*range(NUM)], [3, 4, 5, 100, 101, 2, 8], [50, 51, 50, 51])


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "images.npy", PIXELS)
    return np.load(tmp_path / "images.npy", mmap_mode="r")


@pytest.fixture
def rows(mapped):
    return RowsOnDisk(mapped, remedy="make it again")


@pytest.fixture
def stored(tmp_path):
    return on_disk(PIXELS, tmp_path / "images.npy")


def flip(stored, image):
    with stored.path.open("r+b") as file:
        file.seek(-PIXELS[image:].nbytes, os.SEEK_END)
        file.write(bytes([PIXELS[image, 0, 0, 0] ^ 1]))


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_rows_come_in_the_order_of_the_index(rows, stored, index):
    for kind in (rows, stored):
        assert np.array_equal(kind[index], PIXELS[index])
        assert np.array_equal(kind[np.array(index, dtype=np.int64)], PIXELS[index])


@pytest.mark.parametrize("some", [0, NUM - 1, slice(None), slice(10, 20), slice(190, 900), slice(None, None, -3)])
def test_a_row_and_a_slice_are_those_of_the_array(rows, some):
    assert rows.shape == PIXELS.shape
    assert len(rows) == NUM
    assert np.array_equal(rows[some], PIXELS[some])


@pytest.mark.parametrize("shape", [(6,), (6, 4), (6, 4, 5), (6, 2, 3, 4, 5), (0, 4, 4)], ids=str)
def test_rows_may_have_any_shape(tmp_path, shape):
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    np.save(tmp_path / "values.npy", values)
    rows = RowsOnDisk(np.load(tmp_path / "values.npy", mmap_mode="r"), remedy="")
    assert np.array_equal(rows[:], values)


def test_neighbouring_rows_are_read_at_once(rows, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "preadv", lambda *given, real=os.preadv: calls.append(given) or real(*given))
    assert len(rows[[*range(10, 60), 3, 100, 101]]) == 53
    assert len(calls) == 3


def test_a_read_that_the_system_cuts_short_is_gone_on_with(rows, monkeypatch):
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, into, place: real(file, [into[0][:10]], place))
    assert np.array_equal(rows[[4, 5, 90]], PIXELS[[4, 5, 90]])


def test_rows_are_read_from_many_threads_at_once(stored):
    indices = np.random.default_rng(0).integers(0, NUM, (400, 8))
    with ThreadPoolExecutor(8) as threads:
        for index, found in zip(indices, threads.map(stored.__getitem__, indices), strict=True):
            assert np.array_equal(found, PIXELS[index])


@pytest.mark.parametrize("index", [[-1, 4], [3, NUM]])
def test_a_row_that_is_not_there_is_an_error(rows, index):
    with pytest.raises(IndexError, match="of 200"):
        rows[index]


@pytest.mark.parametrize("beyond", [0, 1, 74])
def test_of_a_file_that_is_cut_short_the_first_image_that_is_not_whole_is_named_and_what_to_do(rows, mapped, beyond):
    os.truncate(rows.path, mapped.offset + 100 * 75 + beyond)
    assert np.array_equal(rows[99], PIXELS[99])
    for index in ([100], [*range(90, 110)]):
        with pytest.raises(UserError, match=r"images\.npy was cut short, and image 100 is not .* more: make it again$"):
            rows[index]


def test_a_part_of_a_map_is_refused(mapped):
    with pytest.raises(ValueError, match="a part of a memory map"):
        RowsOnDisk(mapped[10:], remedy="")


def test_rows_that_lie_all_over_the_file_are_refused(tmp_path):
    np.save(tmp_path / "images.npy", np.asfortranarray(PIXELS))
    with pytest.raises(ValueError, match="does not lie in one piece"):
        RowsOnDisk(np.load(tmp_path / "images.npy", mmap_mode="r"), remedy="")


def test_the_file_is_closed_when_nobody_reads_from_it_any_more(mapped):
    def times_open():
        numbers = [path for path in Path("/proc/self/fd").iterdir() if path.exists()]
        return sum(path.samefile(mapped.filename) for path in numbers)

    before = times_open()
    rows = RowsOnDisk(mapped, remedy="")
    assert times_open() == before + 1
    del rows
    gc.collect()
    assert times_open() == before


@pytest.mark.parametrize("some", [41, [3, 41, 5], slice(40, 50), slice(None)], ids=str)
def test_an_image_that_is_not_what_was_written_is_refused_however_it_is_asked_for(stored, some):
    flip(stored, 41)
    assert np.array_equal(stored[[40, 42]], PIXELS[[40, 42]])
    with pytest.raises(UserError, match=r"images\.npy is damaged: image 41 is not what was written; remove"):
        stored[some]


def test_an_image_is_compared_with_its_checksum_once(stored, monkeypatch):
    seen = []
    monkeypatch.setattr(
        rows_on_disk, "sha256_of", lambda image, real=rows_on_disk.sha256_of: seen.append(1) or real(image)
    )
    for _ in range(2):
        stored[10:20]
        stored[15]
    assert len(seen) == 10


def test_no_image_that_was_refused_counts_as_compared(stored):
    flip(stored, 41)
    for _ in range(2):
        with pytest.raises(UserError, match="image 41"):
            stored[41]
