"""Training on a set that stays on the disk, with the images of the next step read ahead."""

import os
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from on_disk import on_disk
from peak_memory import MEGABYTE, needs_the_peak, peak_growth

from clusterlab import ranks
from clusterlab.data.datamodule import ImageDataModule, Pixels, ShuffledBatches
from clusterlab.data.images import ImageSet
from clusterlab.data.rows_on_disk import StoredImages, sha256_of
from clusterlab.errors import UserError
from clusterlab.features.simclr import SimCLR, SimCLRSettings
from clusterlab.models.optim import OptimiserSettings

OPTIMISER = OptimiserSettings(
    name="sgd", lr=0.01, weight_decay=0.0, momentum=0.9, schedule="cosine", final_lr_ratio=0.01
)


def simclr(work, *, max_epochs=2, batch_size=16):
    settings = SimCLRSettings(
        name="simclr", temperature=0.5, symmetric=False, projection_dim=8, max_epochs=max_epochs,
        batch_size=batch_size, optimiser=OPTIMISER,
    )  # fmt: skip
    return SimCLR(settings=settings, work=work)


@pytest.fixture
def stored(work):
    """The same work with its images on the disk, in a folder of its own."""
    folder = work.folder / "stored"
    folder.mkdir()
    pixels = on_disk(work.images.pixels, folder / "images.npy")
    return replace(work, images=replace(work.images, pixels=pixels), folder=folder)


@pytest.fixture
def reads(monkeypatch):
    """The indices of every read from the disk, and the name of its thread."""
    seen = []
    original = StoredImages.read

    def read(self, index, into):
        seen.append((threading.current_thread().name, index.tolist()))
        original(self, index, into)

    monkeypatch.setattr(StoredImages, "read", read)
    return seen


def test_training_gives_the_same_weights_from_memory_from_the_disk_and_read_ahead(work, stored, reads, monkeypatch):
    held = simclr(work).run().backbone
    assert reads == []
    ahead = simclr(stored).run().backbone
    assert {name for name, _ in reads} == {"prefetch"}
    reads.clear()
    monkeypatch.setattr(Pixels, "announce", lambda *_: None)
    (stored.folder / "again").mkdir()
    direct = simclr(replace(stored, folder=stored.folder / "again")).run().backbone
    assert {name for name, _ in reads} == {"MainThread"}
    for name, value in held.items():
        assert torch.equal(value, ahead[name])
        assert torch.equal(value, direct[name])


def test_every_batch_is_read_once_though_a_step_looks_at_it_twice(stored, reads):
    stage = simclr(stored)
    batches = stage.batches()
    stage.run()
    expected = []
    for epoch in range(2):
        batches.set_epoch(epoch)
        expected += [stage.pool()[positions].tolist() for positions in batches]
    assert len(expected) == 4
    assert sorted(index for _, index in reads) == sorted(expected)


def test_the_next_batch_is_announced_before_a_step_begins_and_no_other(stored, monkeypatch):
    events = []
    original = Pixels.announce

    def announce(self, index):
        events.append("announced")
        original(self, index)

    stage = simclr(stored, batch_size=8, max_epochs=1)
    step = stage.training_step
    stage.training_step = lambda index, batch_idx: events.append("step") or step(index, batch_idx)
    monkeypatch.setattr(Pixels, "announce", announce)
    stage.run()
    assert events == ["announced", *["announced", "step"] * 4, "step"]


def test_no_thread_is_left_after_a_stage(stored):
    before = set(threading.enumerate())
    simclr(stored).run()
    for thread in set(threading.enumerate()) - before:
        assert thread.name == "prefetch"
        thread.join(timeout=10)
    assert set(threading.enumerate()) - before == set()


def test_a_file_that_is_cut_short_meanwhile_ends_the_training_in_a_line(stored):
    stage = simclr(stored)
    step = stage.training_step

    def cut_then_step(index, batch_idx):
        os.truncate(stored.images.pixels.path, 200)
        return step(index, batch_idx)

    stage.training_step = cut_then_step
    with pytest.raises(UserError, match="cut short"):
        stage.run()


def test_images_that_are_no_part_of_the_batch_are_taken_all_the_same(work, stored):
    pixels = Pixels(stored.images, torch.device("cpu"))
    pixels.announce(torch.arange(8))
    pixels.announce(torch.arange(8, 16))
    for index in (torch.tensor([40, 3]), torch.arange(8), torch.empty(0, dtype=torch.int64), torch.arange(8, 16)):
        assert np.array_equal(pixels.take(index), work.images.pixels[index.numpy()])


def test_changing_the_images_of_a_view_does_not_change_those_of_the_next(work, stored):
    pixels = Pixels(stored.images, torch.device("cpu"))
    pixels.announce(torch.arange(8))
    pixels.take(torch.arange(8)).zero_()
    assert np.array_equal(pixels.take(torch.arange(8)), work.images.pixels[:8])


def test_a_pool_is_announced_by_sample_index_in_every_epoch(stored):
    class Listening(Pixels):
        def announce(self, index):
            announced.append(index.tolist())

    announced: list[list[int]] = []
    pool = torch.tensor([7, 9, 11, 13, 20])
    module = ImageDataModule(pool=pool, batches=ShuffledBatches(size=5, batch_size=2, purpose=(0,), limit=None))
    stage = simclr(stored)
    stage.pixels = Listening(stored.images, torch.device("cpu"))
    module.trainer = type("Trainer", (), {"lightning_module": stage})()
    loader = module.train_dataloader()
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        assert len(loader) == 2
        batches = [batch.tolist() for batch in loader]
        assert announced == batches
        announced.clear()


@pytest.mark.parametrize(("rank", "share"), [(0, [9, 1, 8]), (1, [2, 7])])
def test_each_of_several_processes_reads_its_share_alone(work, stored, reads, monkeypatch, rank, share):
    monkeypatch.setattr(ranks, "world_size", lambda: 2)
    monkeypatch.setattr(ranks, "rank", lambda: rank)
    pixels, index = Pixels(stored.images, torch.device("cpu")), torch.tensor([9, 1, 8, 2, 7])
    pixels.announce(index)
    taken = pixels.take(index[ranks.share(5)])
    assert np.array_equal(taken, work.images.pixels[share])
    assert reads == [("prefetch", share)]


@needs_the_peak
def test_training_on_a_large_set_takes_the_memory_of_its_batches(work, tmp_path):
    count, side = 600, 388
    path = tmp_path / "large.npy"
    large = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, 1, side, side))
    del large  # a hole: as large as it says, and quickly made
    mapped = np.load(path, mmap_mode="r")
    sums = np.tile(np.frombuffer(sha256_of(np.zeros((1, side, side), np.uint8)), dtype=np.uint8), (count, 1))
    images = ImageSet(
        pixels=StoredImages(mapped, sums=sums),
        ids=("",) * count,
        splits=("train",) * count,
        protocol="split",
        fingerprint="large",
    )
    small = replace(work, trainer=work.trainer.model_copy(update={"max_steps_per_epoch": 2}), folder=tmp_path / "warm")
    small.folder.mkdir()
    simclr(replace(small, images=images), max_epochs=1).run()  # what training takes by itself
    size = mapped.nbytes / MEGABYTE
    grown = peak_growth(simclr(replace(work, images=images, folder=tmp_path), max_epochs=1).run)
    assert grown < size / 3
    assert peak_growth(lambda: mapped.max()) > size * 0.9  # so much if it were read through a map
