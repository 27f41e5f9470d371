import numpy as np
import pytest
import torch
from on_disk import on_disk

from clusterlab.data.datamodule import DrawnBatches, ImageDataModule, Pixels, ShuffledBatches
from clusterlab.data.images import ImageSet


def batches(size, batch_size, *, epoch=0, limit=None, seed=0):
    sampler = ShuffledBatches(size=size, batch_size=batch_size, purpose=(seed, "features"), limit=limit)
    sampler.set_epoch(epoch)
    assert len(list(sampler)) == len(sampler)
    return list(sampler)


def test_an_epoch_has_no_sample_twice_and_drops_the_incomplete_batch():
    seen = [i for batch in batches(23, 5) for i in batch]
    assert len(seen) == len(set(seen)) == 20
    assert set(seen) <= set(range(23))


def test_the_order_depends_on_the_epoch_and_the_seed_alone():
    assert batches(20, 5, epoch=3) == batches(20, 5, epoch=3)
    assert batches(20, 5, epoch=3) != batches(20, 5, epoch=4)
    assert batches(20, 5, seed=1) != batches(20, 5, seed=2)


def test_fewer_images_than_a_batch_make_one_batch():
    assert sorted(batches(3, 100)[0]) == [0, 1, 2]


def test_the_limit_cuts_the_epoch():
    assert len(batches(100, 10, limit=2)) == 2


def drawn(size, batch_size, steps, *, epoch=0, seed=0):
    sampler = DrawnBatches(size=size, batch_size=batch_size, steps=steps, purpose=(seed, "student"))
    sampler.set_epoch(epoch)
    return list(sampler)


def test_drawn_batches_are_as_many_and_as_large_as_asked_for_however_small_the_pool():
    assert [len(batch) for batch in drawn(3, 10, 7)] == [10] * 7


def test_drawn_positions_are_independent_and_cover_the_pool():
    positions = [i for batch in drawn(50, 100, 20) for i in batch]
    counts = torch.bincount(torch.tensor(positions), minlength=50)
    assert len(counts) == 50
    assert 15 < int(counts.min()) < 40 < int(counts.max()) < 70  # 40 each on average, and not evenly


def test_draws_depend_on_the_epoch_and_the_seed_alone():
    assert drawn(50, 4, 5, epoch=3) == drawn(50, 4, 5, epoch=3)
    assert drawn(50, 4, 5, epoch=3) != drawn(50, 4, 5, epoch=4)
    assert drawn(50, 4, 5, seed=1) != drawn(50, 4, 5, seed=2)


@pytest.fixture(params=["memory", "disk"])
def images(request, tmp_path):
    pixels = np.arange(6 * 4, dtype=np.uint8).reshape(6, 1, 2, 2)
    return ImageSet(
        pixels=on_disk(pixels, tmp_path / "images.npy") if request.param == "disk" else pixels,
        ids=tuple("abcdef"),
        splits=("train",) * 6,
        protocol="all",
        fingerprint=request.param,
    )


def test_pixels_come_in_the_order_of_the_index(images):
    taken = Pixels(images, torch.device("cpu")).take(torch.tensor([4, 0, 4]))
    assert taken.dtype == torch.uint8
    assert taken[:, 0, 0, 0].tolist() == [16, 0, 16]


def test_a_batch_is_a_tensor_of_sample_indices_and_nothing_else():
    sampler = ShuffledBatches(size=4, batch_size=2, purpose=(0,), limit=None)
    module = ImageDataModule(pool=torch.tensor([7, 9, 11, 13]), batches=sampler)
    loaded = list(module.train_dataloader())
    assert all(isinstance(batch, torch.Tensor) and batch.dtype == torch.int64 for batch in loaded)
    assert sorted(torch.cat(loaded).tolist()) == [7, 9, 11, 13]


def test_a_loader_that_goes_on_in_an_epoch_hands_out_the_batches_that_follow_and_then_whole_epochs():
    def loader():
        sampler = ShuffledBatches(size=20, batch_size=4, purpose=(0, "features"), limit=None)
        return ImageDataModule(pool=torch.arange(100, 120), batches=sampler).train_dataloader()

    stopped, going_on = loader(), loader()
    whole = [batch.tolist() for batch in stopped]
    assert stopped.state_dict() == {"done": 0}
    seen = iter(stopped)
    assert [next(seen).tolist() for _ in range(2)] == whole[:2]
    assert stopped.state_dict() == {"done": 2}
    going_on.load_state_dict(stopped.state_dict())
    assert [batch.tolist() for batch in going_on] == whole[2:]
    assert [batch.tolist() for batch in going_on] == whole
