import threading
import time
from collections.abc import Iterator
from itertools import count

import pytest

from clusterlab.data.parallel import MOST_THREADS, in_threads, map_ahead, usable_threads


def decoders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_every_thread_runs_the_loop_and_all_results_are_handed_on():
    together = threading.Barrier(3, timeout=10)

    def loop(_: threading.Event) -> Iterator[int]:
        together.wait()  # passes only with three threads at once
        yield from range(100)

    assert sorted(in_threads(loop, 3)) == sorted([*range(100)] * 3)
    assert decoders() == []


def test_an_error_of_one_thread_ends_the_others_and_is_raised_here():
    first = threading.Lock()

    def loop(stop: threading.Event) -> Iterator[int]:
        if first.acquire(blocking=False):
            raise ZeroDivisionError("a defect")
        while not stop.is_set():
            time.sleep(0.01)
        yield 1

    with pytest.raises(ZeroDivisionError, match="a defect"):
        list(in_threads(loop, 3))
    assert decoders() == []


def test_a_caller_that_stops_taking_ends_the_threads():
    def endless(stop: threading.Event) -> Iterator[int]:
        for number in count():
            if stop.is_set():
                return
            time.sleep(0.001)
            yield number

    results = in_threads(endless, 2)
    assert next(results) == 0
    assert len(decoders()) == 2
    results.close()
    assert decoders() == []


def test_there_is_a_thread_for_every_core_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 2, 5})
    assert usable_threads() == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    assert usable_threads() == MOST_THREADS


def test_a_function_over_items_keeps_their_order():
    def slow_at_first(item: int) -> int:
        time.sleep(0.02 if item % 4 == 0 else 0)
        return item * item

    assert list(map_ahead(slow_at_first, range(20), threads=4, ahead=6)) == [i * i for i in range(20)]
    assert decoders() == []


def test_no_more_items_are_drawn_than_may_be_ahead():
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for item in range(1, 101):
            drawn = item
            yield item

    results = map_ahead(lambda item: item, items(), threads=3, ahead=5)
    for taken in range(1, 90):
        assert next(results) == taken
        assert drawn <= taken + 5
    results.close()
    assert decoders() == []


def test_an_error_comes_in_the_turn_of_its_item():
    def fails_at_three(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    results = map_ahead(fails_at_three, range(10), threads=2, ahead=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert decoders() == []
