import threading
import time

import numpy as np
import pytest

from clusterlab.data.decode import UnreadableImageError
from clusterlab.data.parallel import CHUNK, MOST_THREADS, InOrder


def image(i: int) -> np.ndarray:
    return np.full((1, 1, 1), i % 256, dtype=np.uint8)


def test_results_come_in_the_order_of_the_positions_however_long_each_takes():
    def slow_for_even(i: int) -> np.ndarray:
        time.sleep(0.01 * (i % (2 * CHUNK) == 0))
        return image(i)

    positions = list(range(250, 0, -1))
    assert [int(r[0, 0, 0]) for r in InOrder(slow_for_even, positions)] == positions


def test_an_unreadable_image_is_a_result_and_other_errors_are_raised():
    def read(i: int) -> np.ndarray:
        if i == 1:
            raise UnreadableImageError("torn")
        if i == 3:
            raise RuntimeError("a defect")
        return image(i)

    first, torn, third = InOrder(read, [0, 1, 2])
    assert isinstance(torn, UnreadableImageError)
    assert (int(first[0, 0, 0]), str(torn), int(third[0, 0, 0])) == (0, "torn", 2)
    with pytest.raises(RuntimeError, match="a defect"):
        list(InOrder(read, [2, 3]))


def test_only_a_few_results_wait_for_a_slow_taker():
    read = threading.Semaphore(0)
    results = iter(InOrder(lambda i: (read.release(), image(i))[1], range(100_000)))
    next(results)
    time.sleep(0.2)
    started = 0
    while read.acquire(blocking=False):
        started += 1
    results.close()
    assert started <= CHUNK * (2 * MOST_THREADS + 1)


def test_nothing_to_read_gives_nothing():
    assert (len(InOrder(image, [])), list(InOrder(image, []))) == (0, [])
