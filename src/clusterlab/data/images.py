"""The images of a run, in one fixed order.

The position of an image in this order is its *sample index*. Every artifact is addressed by it.
"""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clusterlab.data.rows_on_disk import StoredImages

Split = Literal["train", "test", "unlabeled"]
Protocol = Literal["split", "all"]
DecodedImages: TypeAlias = npt.NDArray[np.uint8] | StoredImages
"""uint8, by sample index: an array in memory or, of a set that is larger than `data.memory_limit`, what reads from the
disk and compares with checksums. Of the second, take a part at a time."""


@dataclass(frozen=True, eq=False)
class Labels:
    """True classes, for scoring only; `clusterlab.evaluation.labels` is the one place that reads them.

    `values` holds one class per sample (n, int64), −1 where it is not known; `names[c]` is the name of class c.
    """

    values: npt.NDArray[np.int64]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """n decoded images of one size, and what is known about each."""

    pixels: DecodedImages
    """n × c × y × x, c is 1 or 3."""
    ids: tuple[str, ...]
    """Path below the root with '/' between its parts, or the index as text; unique. A million take about 90 MB."""
    splits: tuple[Split, ...]
    """The split each sample belongs to, as the source has it."""
    protocol: Protocol
    """'split': train on train, score on test. 'all': train and score on both.

    The split 'unlabeled', which few datasets have, serves the features alone under either.
    """
    fingerprint: str
    """sha256 over ids, splits and pixels: the same images give the same fingerprint. Labels are not in it."""
    unreadable: tuple[tuple[str, str], ...] = ()
    """(id, reason) of each file that was skipped."""
    sealed_labels: Labels | None = field(default=None, repr=False)
    """Not to be read here: see `clusterlab.evaluation.labels.true_labels`."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def in_memory(self) -> bool:
        """Whether `pixels` is an array in memory."""
        return not isinstance(self.pixels, StoredImages)

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return int(self.pixels.shape[1])

    @property
    def pretext_index(self) -> Tensor:
        """Sample indices that features may be trained on (int64): `train_index` and the unlabelled split."""
        return self._pool("train", "unlabeled")

    @property
    def train_index(self) -> Tensor:
        """Sample indices that methods may train on (int64)."""
        return self._pool("train")

    @property
    def eval_index(self) -> Tensor:
        """Sample indices that are scored (int64); under protocol 'all' the same as `train_index`."""
        return self._pool("test")

    def _pool(self, *splits: Split) -> Tensor:
        wanted = {"train", "test", *splits} if self.protocol == "all" else set(splits)
        return torch.tensor([i for i, s in enumerate(self.splits) if s in wanted], dtype=torch.int64)
