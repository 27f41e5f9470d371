"""Images before they are decoded: what each source hands to the decode-once store."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from clusterlab.data.images import Labels, Split

Stamp = tuple[str | int, ...]
"""Values that change when the file behind an image does."""


@dataclass(frozen=True, eq=False)
class Originals:
    """n images in their final order, none of them decoded."""

    where: str
    """What they come from, for messages: a path, or the dataset's name."""
    ids: tuple[str, ...]
    splits: tuple[Split, ...]
    split_rule: str
    """How the source tells the splits apart, for the message that there is none of one."""
    stamps: tuple[Stamp, ...]
    shape: tuple[int, int, int]
    """c, y, x of every image once it is decoded."""
    read: Callable[[int], UInt8[np.ndarray, "c y x"]]
    """Decode image i of these n; called from several threads. Raises `decode.UnreadableImageError`."""
    labels: Labels | None
    """One class per image, in the same order."""
    skipped: tuple[tuple[str, str], ...] = ()
    """(id, reason) of what looked like an image and is none."""
    check: Callable[[], None] = lambda: None
    """Called once before images are decoded: raises `UserError` if what they are read from is damaged."""


def split_sizes(*, train: int, test: int = 0, unlabeled: int = 0) -> tuple[Split, ...]:
    """Return the splits of so many training images, then test images, then unlabelled ones."""
    sizes: dict[Split, int] = {"train": train, "test": test, "unlabeled": unlabeled}
    return tuple(split for split, size in sizes.items() for _ in range(size))


def stamp_of(about: os.stat_result, name: str) -> Stamp:
    """Return what identifies the content of a file, known by `name`, without reading it.

    Its permissions are in it, so that a file that was forbidden and no longer is gets another chance.
    """
    return name, about.st_size, about.st_mtime_ns, about.st_mode
