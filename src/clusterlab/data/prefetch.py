"""Images of a memory-mapped set: read by position, and ahead of the step that will ask for them.

They are not taken through the map but read from its file. What is touched of a map counts as the process's memory
until the system takes it back: after 60 batches of 512 random images that were 600 MB, and at the end the whole set.
Reading needs no memory beyond the batch, and what the system itself keeps of the file, it gives up when memory is
wanted for something else. It is as fast as a map whose pages are given back where the system has the file in memory
(1.1 ms for 512 images of 32 × 32, 7 ms for 128 of 224 × 224), and faster where it comes from the disk, because the
system is told of all images before the first one is waited for: 19 ms for those 512, 86 without telling, 779 through
the map.
"""

import mmap
import os
import threading
import weakref
from collections import deque
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from clusterlab.data.store_manifest import sha256_of
from clusterlab.errors import UserError

Index = Int[np.ndarray, " b"]


class MappedRows:
    """The rows of a memory-mapped array, read from its file.

    A row that is read for the first time is compared with its sha256, where `sums` has them: on opening, a map is not
    read as a whole.
    """

    def __init__(self, mapped: UInt8[np.memmap, "n c y x"], *, sums: UInt8[np.ndarray, "n 32"] | None = None) -> None:
        base: object = mapped.base
        if not isinstance(base, mmap.mmap) or mapped.filename is None:
            raise ValueError("a part of a memory map does not tell where in the file it begins")
        self.shape = mapped.shape[1:]
        self._count = len(mapped)
        self._start = mapped.offset
        self._row_bytes = mapped.nbytes // max(1, len(mapped))
        self._file = os.open(mapped.filename, os.O_RDONLY)
        self._path = Path(mapped.filename)
        self._sums = sums
        self._checked = np.full(len(mapped), sums is None)
        weakref.finalize(self, os.close, self._file)

    def read(self, index: Index, into: UInt8[np.ndarray, "b c y x"]) -> None:
        """Read the rows `index` in the order of the file, those that lie side by side at once.

        Raises:
            IndexError: there is no such row.
            OSError: the disk or the file fails.
            UserError: a row is not what was written.
        """
        if not len(index):
            return
        order = np.argsort(index, kind="stable")
        rows = index[order]
        if rows[0] < 0 or rows[-1] >= self._count:
            raise IndexError(f"rows {rows[0]} to {rows[-1]} of {self._count}")
        starts = np.flatnonzero((np.diff(rows) != 1) | (np.diff(order) != 1)) + 1
        bounds = [0, *starts.tolist(), len(rows)]
        if len(bounds) > 2:
            for first, end in pairwise(bounds):
                self._will_need(int(rows[first]), end - first)
        for first, end in pairwise(bounds):
            place = int(order[first])
            self._fill(into[place : place + end - first], int(rows[first]))
        self._check(index, into)
        if len(bounds) == 2:
            # One run of rows: a pass over the set, in which the system reads on while these are worked with.
            self._will_need(int(rows[-1]) + 1, len(rows))

    def _check(self, index: Index, images: UInt8[np.ndarray, "b c y x"]) -> None:
        for place in np.flatnonzero(~self._checked[index]).tolist():
            row = int(index[place])
            if self._sums is not None and sha256_of(images[place]) != self._sums[row].tobytes():
                raise UserError(
                    f"{self._path} is damaged: image {row} is not what was written; remove {self._path.parent}, and "
                    "the same command decodes the images again and goes on"
                )
            self._checked[row] = True

    def _fill(self, into: UInt8[np.ndarray, "m c y x"], row: int) -> None:
        left = into.reshape(-1).data
        position = self._start + row * self._row_bytes
        while left:
            got = os.preadv(self._file, [left], position)
            if not got:
                raise OSError(f"the decoded images end before image {row}: their file was cut short")
            left, position = left[got:], position + got

    def _will_need(self, row: int, count: int) -> None:
        """Have the system read rows, without waiting for it."""
        if hasattr(os, "posix_fadvise"):
            start = self._start + row * self._row_bytes
            os.posix_fadvise(self._file, start, count * self._row_bytes, os.POSIX_FADV_WILLNEED)


class ComingBatch:
    """The images of one batch, read by a thread of its own that ends when they are, or when first asked for."""

    def __init__(self, rows: MappedRows, index: Index, *, pinned: bool) -> None:
        self.wanted = False
        self._rows = rows
        self._index = index
        self._order = np.argsort(index, kind="stable")
        self._pinned = pinned
        self._images: Tensor | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self) -> None:
        """Begin to read."""
        # Made here, not in the thread: there it would be memory that no later thread can use.
        self._images = torch.empty((len(self._index), *self._rows.shape), dtype=torch.uint8, pin_memory=self._pinned)
        self._thread = threading.Thread(target=self._read, name="prefetch")
        self._thread.start()

    def images(self, index: Index) -> UInt8[Tensor, "b c y x"] | None:
        """Return the images of `index`, which are this batch's own memory; None if they are not all among it.

        Raises:
            OSError: they could not be read.
        """
        places = self._places(index)
        if places is None:
            return None
        self.wanted = True
        if self._thread is None:
            self.start()
        assert self._thread is not None
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._images is not None
        return self._images if np.array_equal(index, self._index) else self._images[torch.from_numpy(places)]

    def _places(self, index: Index) -> Index | None:
        if not len(index) or not len(self._index):
            return None
        found = np.searchsorted(self._index, index, sorter=self._order)
        places: Index = self._order[np.minimum(found, len(self._order) - 1)]
        return places if np.array_equal(self._index[places], index) else None

    def _read(self) -> None:
        assert self._images is not None
        try:
            self._rows.read(self._index, self._images.numpy())
        except BaseException as error:  # raised again where the images are asked for
            self._error = error


class Prefetch:
    """The batch of the current step and the next one, which is read meanwhile."""

    def __init__(self, rows: MappedRows, *, pinned: bool) -> None:
        self._rows = rows
        self._pinned = pinned
        self._batches: deque[ComingBatch] = deque(maxlen=2)
        self._wanted = True

    def announce(self, index: Index) -> None:
        """Read the images of the batch after the one announced last.

        A stage may do without the images of its batches, for a while or always: while nobody asked for those of the
        step before, none are read ahead.
        """
        if len(self._batches) == self._batches.maxlen:
            self._wanted = self._batches[0].wanted
        batch = ComingBatch(self._rows, index, pinned=self._pinned)
        if self._wanted:
            batch.start()
        self._batches.append(batch)

    def images(self, index: Index) -> UInt8[Tensor, "b c y x"] | None:
        """Return the images of `index` if they are among those announced; the memory is not the caller's own.

        Raises:
            OSError: they could not be read.
        """
        for batch in self._batches:
            if (found := batch.images(index)) is not None:
                return found
        return None
