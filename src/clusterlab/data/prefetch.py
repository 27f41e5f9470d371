"""Images of a set that stays on the disk, read ahead of the step that will ask for them."""

import threading
from collections import deque

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from clusterlab.data.rows_on_disk import Index, RowsOnDisk


class ComingBatch:
    """The images of one batch, read by a thread of its own that ends when they are, or when first asked for."""

    def __init__(self, rows: RowsOnDisk, index: Index, *, pinned: bool) -> None:
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
        self._images = torch.empty(
            (len(self._index), *self._rows.shape[1:]), dtype=torch.uint8, pin_memory=self._pinned
        )
        self._thread = threading.Thread(target=self._read, name="prefetch")
        self._thread.start()

    def images(self, index: Index) -> UInt8[Tensor, "b c y x"] | None:
        """Return the images of `index`, which are this batch's own memory; None if they are not all among it.

        Raises:
            OSError, UserError: they could not be read.
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

    def __init__(self, rows: RowsOnDisk, *, pinned: bool) -> None:
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
            OSError, UserError: they could not be read.
        """
        for batch in self._batches:
            if (found := batch.images(index)) is not None:
                return found
        return None
