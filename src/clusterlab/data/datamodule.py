"""The shared datamodule: batches of sample indices, and the pixels behind them.

A batch is a tensor of sample indices and nothing else, so there is no field in which a label could travel. Pixels are
taken by index: from one uint8 tensor on the training device, or from the disk where the images are too large. Then
those of the next batch are read while a step runs: the sampler knows what comes, and announces it to the pixels of the
module that is trained.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int, UInt8
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from clusterlab import ranks
from clusterlab.data.images import ImageSet
from clusterlab.data.prefetch import Prefetch
from clusterlab.data.rows_on_disk import StoredImages
from clusterlab.rng import generator_for


class Pixels:
    """uint8 images by sample index, on `device`."""

    def __init__(self, images: ImageSet, device: torch.device) -> None:
        self._device = device
        if isinstance(images.pixels, StoredImages):
            self._rows = images.pixels
            self._ahead = Prefetch(self._rows, pinned=device.type == "cuda")
            self._resident = None
        else:
            self._resident = torch.from_numpy(images.pixels).to(device)

    def take(self, index: Int[Tensor, " b"]) -> UInt8[Tensor, "b c y x"]:
        """Return the images of `index` in its order.

        Raises:
            OSError: they cannot be read from the disk.
            UserError: they are not what was decoded, or not there any more.
        """
        if self._resident is not None:
            return self._resident[index.to(self._device)]
        rows = index.cpu().numpy()
        if (ahead := self._ahead.images(rows)) is not None:
            # A copy, on the CPU too: the same images may be asked for again.
            return ahead.to(self._device, non_blocking=True, copy=True)
        return torch.from_numpy(self._rows[rows]).to(self._device)

    def announce(self, index: Int[Tensor, " b"]) -> None:
        """Say that the images of `index` are those of the batch after the one announced last.

        What `take` returns does not depend on it. Under several processes each reads its share.
        """
        if self._resident is None:
            self._ahead.announce(index[ranks.share(len(index))].cpu().numpy())


@runtime_checkable
class HasPixels(Protocol):
    """A module that takes its images from `pixels`, as every trained stage does."""

    pixels: Pixels


class EpochBatches(Sampler[list[int]]):
    """Batches of positions 0..size−1, decided by `purpose` and the epoch alone."""

    def __init__(self, *, size: int, batch_size: int, steps: int, purpose: tuple[int | str, ...]) -> None:
        self.size = size
        self.batch_size = batch_size
        self.steps = steps
        self.purpose = purpose
        self.epoch = 0
        self.done = 0
        """Batches of the epoch that are left out, because a run has seen them before it was stopped."""

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
        for start in range(self.done * self.batch_size, self.steps * self.batch_size, self.batch_size):
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


class _Announced(Sampler[list[int]]):
    """The batches of a sampler, each announced when the one before it is handed out."""

    def __init__(self, batches: EpochBatches, announce: Callable[[list[int]], None]) -> None:
        self.batches = batches
        self.announce = announce

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this at the start of each epoch."""
        self.batches.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        current: list[int] | None = None
        for following in self.batches:
            self.announce(following)
            if current is not None:
                yield current
            current = following
        if current is not None:
            yield current


class _Loader(DataLoader[Tensor]):
    """Counts the batches of the epoch: a run that goes on in the middle of one goes on with the batch that follows.

    `state_dict` and `load_state_dict` are what Lightning asks of a loader for that.
    """

    def __init__(self, pool: Dataset[Tensor], batches: EpochBatches, sampler: Sampler[list[int]]) -> None:
        super().__init__(pool, sampler=sampler, batch_size=None)
        self.batches = batches
        self.done = 0

    def __iter__(self) -> Iterator[Tensor]:  # type: ignore[override]
        self.done %= len(self.batches)
        self.batches.done = self.done
        for batch in super().__iter__():
            self.done += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return how many batches of the epoch are done."""
        return {"done": self.done % len(self.batches)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after them."""
        self.done = state["done"]


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
        trained = self.trainer.lightning_module if self.trainer is not None else None
        batches: Sampler[list[int]] = self.batches
        if isinstance(trained, HasPixels):
            pixels = trained.pixels
            batches = _Announced(self.batches, lambda positions: pixels.announce(self.pool[positions]))
        return _Loader(self.pool, self.batches, batches)
