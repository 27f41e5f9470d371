"""The shared datamodule: batches of sample indices, and the pixels behind them.

A batch is a tensor of sample indices and nothing else, so there is no field in which a label could travel. Pixels are
taken by index: from one uint8 tensor on the training device, or from the memory map where the images are too large.
"""

from abc import abstractmethod
from collections.abc import Iterator

import torch
from jaxtyping import Int, UInt8
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from clusterlab.data.images import ImageSet
from clusterlab.rng import generator_for


class Pixels:
    """uint8 images by sample index, on `device`."""

    def __init__(self, images: ImageSet, device: torch.device) -> None:
        self._device = device
        self._mapped = images.pixels if not images.in_memory else None
        self._resident = torch.from_numpy(images.pixels).to(device) if images.in_memory else None

    def take(self, index: Int[Tensor, " b"]) -> UInt8[Tensor, "b c y x"]:
        """Return the images of `index` in its order."""
        if self._resident is not None:
            return self._resident[index.to(self._device)]
        assert self._mapped is not None
        return torch.from_numpy(self._mapped[index.cpu().numpy()]).to(self._device, non_blocking=True)


class EpochBatches(Sampler[list[int]]):
    """Batches of positions 0..size−1, decided by `purpose` and the epoch alone."""

    def __init__(self, *, size: int, batch_size: int, steps: int, purpose: tuple[int | str, ...]) -> None:
        self.size = size
        self.batch_size = batch_size
        self.steps = steps
        self.purpose = purpose
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps

    @abstractmethod
    def order(self, generator: torch.Generator) -> Int[Tensor, " m"]:
        """Return the positions of an epoch, batch after batch."""

    def __iter__(self) -> Iterator[list[int]]:
        order = self.order(generator_for(*self.purpose, "order", self.epoch))
        for start in range(0, self.steps * self.batch_size, self.batch_size):
            yield order[start : start + self.batch_size].tolist()


class ShuffledBatches(EpochBatches):
    """Every position at most once in an epoch, in another order each time.

    A pool smaller than a batch gives one batch of the whole pool; otherwise the incomplete last batch is dropped.
    """

    def __init__(self, *, size: int, batch_size: int, purpose: tuple[int | str, ...], limit: int | None) -> None:
        batch_size = min(batch_size, size)
        steps = min(size // batch_size, limit or size)
        super().__init__(size=size, batch_size=batch_size, steps=steps, purpose=purpose)

    def order(self, generator: torch.Generator) -> Int[Tensor, " m"]:
        """Return a permutation."""
        return torch.randperm(self.size, generator=generator)


class DrawnBatches(EpochBatches):
    """Positions drawn with replacement: an epoch is a number of steps, not a pass over the pool."""

    def order(self, generator: torch.Generator) -> Int[Tensor, " m"]:
        """Return independent draws."""
        return torch.randint(self.size, (self.steps * self.batch_size,), generator=generator)


class _Pool(Dataset[Tensor]):
    """The sample indices of a pool; takes a whole batch of positions at once."""

    def __init__(self, index: Int[Tensor, " n"]) -> None:
        self.index = index

    def __getitem__(self, positions: list[int]) -> Tensor:
        return self.index[positions]


class ImageDataModule(LightningDataModule):
    """Serves the sample indices of `pool` for training, in the batches that a sampler of positions decides."""

    def __init__(self, *, pool: Int[Tensor, " n"], batches: EpochBatches) -> None:
        super().__init__()
        self.pool = _Pool(pool)
        self.batches = batches

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Return batches of sample indices (int64, b)."""
        return DataLoader(self.pool, sampler=self.batches, batch_size=None)
