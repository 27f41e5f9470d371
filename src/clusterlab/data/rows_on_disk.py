"""The rows of an array that is too large for memory, read by position from its file.

They are not taken through a memory map, for two reasons. Where the file is cut short while somebody reads, touching
the map ends the process without a word (SIGBUS), and reading ends in an error. And what is touched of a map counts as
the process's memory until the system takes it back: after 60 batches of 512 random images that were 600 MB, and at the
end the whole set. Reading needs no memory beyond the rows, and what the system itself keeps of the file, it gives up
when memory is wanted for something else. It is as fast as a map whose pages are given back where the system has the
file in memory (1.1 ms for 512 images of 32 × 32, 7 ms for 128 of 224 × 224), and faster where it comes from the disk,
because the system is told of all images before the first one is waited for: 19 ms for those 512, 86 without telling,
779 through the map.
"""

import hashlib
import mmap
import os
import weakref
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from clusterlab.errors import UserError

Index = Int[np.ndarray, " b"]


def sha256_of(image: UInt8[np.ndarray, "c y x"]) -> bytes:
    """Return the checksum of an image."""
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()


class RowsOnDisk:
    """The rows of a memory-mapped array, read from its file; several threads may read at once.

    Of the map, which nobody touches or keeps, come the name, the shape and the place in the file.
    """

    def __init__(self, mapped: UInt8[np.memmap, "n *row"], *, remedy: str) -> None:
        """`remedy` says what to do about a file that is cut short, and ends that line."""
        base: object = mapped.base
        if not isinstance(base, mmap.mmap) or mapped.filename is None:
            raise ValueError("a part of a memory map does not tell where in the file it begins")
        if not mapped.flags.c_contiguous:
            raise ValueError("a row of this array does not lie in one piece")
        self.path = Path(mapped.filename)
        self.shape: tuple[int, ...] = mapped.shape
        self._start = mapped.offset
        self._row_bytes = mapped.nbytes // max(1, len(mapped))
        self._remedy = remedy
        self._file = os.open(mapped.filename, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | Sequence[int] | Int[np.ndarray, " b"]) -> UInt8[np.ndarray, "..."]:
        """Return the same as an array would: a row, or those of a slice or an index.

        Raises:
            IndexError, OSError, UserError: as `read`.
        """
        index = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else np.asarray(rows, dtype=np.int64)
        found = np.empty((index.size, *self.shape[1:]), dtype=np.uint8)
        self.read(index.reshape(-1), found)
        return found.reshape(*index.shape, *self.shape[1:])

    def read(self, index: Index, into: UInt8[np.ndarray, "b *row"]) -> None:
        """Read the rows `index` in the order of the file, those that lie side by side at once.

        Raises:
            IndexError: there is no such row.
            OSError: the disk fails.
            UserError: the file has become shorter.
        """
        if not len(index):
            return
        order = np.argsort(index, kind="stable")
        rows = index[order]
        if rows[0] < 0 or rows[-1] >= len(self):
            raise IndexError(f"rows {rows[0]} to {rows[-1]} of {len(self)}")
        starts = np.flatnonzero((np.diff(rows) != 1) | (np.diff(order) != 1)) + 1
        bounds = [0, *starts.tolist(), len(rows)]
        if len(bounds) > 2:
            for first, end in pairwise(bounds):
                self._will_need(int(rows[first]), end - first)
        for first, end in pairwise(bounds):
            place = int(order[first])
            self._fill(into[place : place + end - first], int(rows[first]))
        if len(bounds) == 2:
            # One run of rows: a pass over the set, in which the system reads on while these are worked with.
            self._will_need(int(rows[-1]) + 1, len(rows))

    def _fill(self, into: UInt8[np.ndarray, "m *row"], row: int) -> None:
        left: Any = into.reshape(-1).data
        position = self._start + row * self._row_bytes
        while left:
            got = os.preadv(self._file, [left], position)
            if not got:
                image = (position - self._start) // self._row_bytes
                raise UserError(f"{self.path} was cut short, and image {image} is not in it any more: {self._remedy}")
            left, position = left[got:], position + got

    def _will_need(self, row: int, count: int) -> None:
        """Have the system read rows, without waiting for it."""
        if hasattr(os, "posix_fadvise"):
            start = self._start + row * self._row_bytes
            os.posix_fadvise(self._file, start, count * self._row_bytes, os.POSIX_FADV_WILLNEED)


class StoredImages(RowsOnDisk):
    """The decoded images of a set that stays on the disk: there is no way to them that does not look at checksums.

    On opening, a large file is not read as a whole, so an image is compared with its sha256 when it is first read; who
    reads it again, in whatever stage, does without.
    """

    def __init__(self, mapped: UInt8[np.memmap, "n c y x"], *, sums: UInt8[np.ndarray, "n 32"]) -> None:
        super().__init__(mapped, remedy="the same command decodes the images again and goes on")
        self.sums = sums
        self._checked = np.zeros(len(mapped), dtype=bool)

    def read(self, index: Index, into: UInt8[np.ndarray, "b *row"]) -> None:
        """Read as any rows are.

        Raises:
            IndexError: there is no such image.
            OSError: the disk fails.
            UserError: the file has become shorter, or an image is not what was written.
        """
        super().read(index, into)
        for place in np.flatnonzero(~self._checked[index]).tolist():
            image = int(index[place])
            if sha256_of(into[place]) != self.sums[image].tobytes():
                raise UserError(
                    f"{self.path} is damaged: image {image} is not what was written; remove {self.path.parent}, and "
                    "the same command decodes the images again and goes on"
                )
            self._checked[image] = True
