"""Reads many images with a pool of threads, in order and in bounded memory."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8

from clusterlab.data.decode import UnreadableImageError

# Images per task: so many that handing a task over costs little even for images of 32 × 32.
CHUNK = 32
# More threads than this gain nothing from one disk, and each may hold a large photo.
MOST_THREADS = 16

Result = UInt8[np.ndarray, "c y x"] | UnreadableImageError


class InOrder:
    """What `read` gives for each of `positions`, in their order; an unreadable image gives its error.

    Pillow lets go of the interpreter lock while it decodes, so threads use all cores. At most two chunks per
    thread wait to be taken, however slow the taker is.
    """

    def __init__(self, read: Callable[[int], UInt8[np.ndarray, "c y x"]], positions: Sequence[int]) -> None:
        self._read = read
        self._positions = positions

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[Result]:
        threads = min(os.cpu_count() or 1, MOST_THREADS)
        waiting: deque[Future[list[Result]]] = deque()
        with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
            try:
                for start in range(0, len(self), CHUNK):
                    waiting.append(pool.submit(self._chunk, self._positions[start : start + CHUNK]))
                    if len(waiting) > 2 * threads:
                        yield from waiting.popleft().result()
                while waiting:
                    yield from waiting.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _chunk(self, positions: Sequence[int]) -> list[Result]:
        return [self._one(position) for position in positions]

    def _one(self, position: int) -> Result:
        try:
            return self._read(position)
        except UnreadableImageError as error:
            return error
