"""Work in several threads: one loop that each of them runs, or one function over many items in their order."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

# More threads than this gain nothing from one disk, and each may hold a large photo.
MOST_THREADS = 16

T = TypeVar("T")
R = TypeVar("R")


def usable_threads() -> int:
    """Return how many threads to read images with: one for each core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_THREADS)


def in_threads(loop: Callable[[threading.Event], Iterator[T]], threads: int) -> Iterator[T]:
    """Yield what `loop`, run once in each of `threads` threads, yields there, until all of them have ended.

    Each gets the same event and ends soon after it is set: that happens when one of them raises, whose error is
    then raised here, or when the caller stops taking. No thread is left when this ends.
    """
    results: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
    stop = threading.Event()

    def run() -> None:
        try:
            for result in loop(stop):
                results.put((result,))
            results.put(None)
        except BaseException as error:
            results.put(error)

    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        for _ in range(threads):
            pool.submit(run)
        try:
            running = threads
            while running:
                result = results.get()
                if isinstance(result, BaseException):
                    raise result
                if result is None:
                    running -= 1
                else:
                    yield result[0]
        finally:
            stop.set()


def map_ahead(function: Callable[[T], R], items: Iterable[T], *, threads: int, ahead: int) -> Iterator[R]:
    """Yield `function` of each of `items` in their order, computed in threads.

    At most `ahead` of them are begun and not yet taken: no more items are drawn, and no more results are held. An error
    in `function` is raised in its turn. No thread is left when this ends.
    """
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        try:
            for item in items:
                if len(pending) == ahead:
                    yield pending.popleft().result()
                pending.append(pool.submit(function, item))
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
