import io
import logging
import sys

import pytest

from clusterlab import progress
from clusterlab.progress import Progress, track


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def move(seconds):
        now[0] += seconds

    return move


def test_without_a_terminal_there_is_a_line_every_fifteen_seconds(clock):
    lines = []
    with Progress("labelling", unit="image", total=1000, say=lines.append) as shown:
        for _ in range(10):
            clock(4.0)
            shown.add(80)
    assert lines == [
        "labelling: image 320 of 1000, 20/s, 00:34 left",
        "labelling: image 640 of 1000, 20/s, 00:18 left",
    ]


def test_where_the_end_is_not_known_no_time_is_left(clock):
    lines = []
    with Progress("labelling", unit="image", total=None, say=lines.append) as shown:
        clock(16.0)
        shown.add(4)
    assert lines == ["labelling: image 4, 0.25/s"]


def test_what_was_tracked_is_what_comes_and_the_log_tells_of_it(clock, caplog):
    with caplog.at_level(logging.INFO):
        for step in track([1, 2, 3], "features"):
            clock(10.0 * step)
    assert caplog.messages == [
        "features: batch 2 of 3, 0.07/s, 00:15 left",
        "features: batch 3 of 3, 0.05/s, 00:00 left",
    ]


def test_of_a_moment_nothing_is_said(clock, caplog):
    with caplog.at_level(logging.INFO):
        assert list(track(iter(range(1000)), "features")) == list(range(1000))
    assert caplog.messages == []


def test_on_a_terminal_there_is_a_bar_and_no_line(monkeypatch):
    lines = []
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with Progress("labelling", unit="image", total=10, say=lines.append) as shown:
        shown.bar.delay = 0
        shown.add(10)
    assert "labelling: 100%" in sys.stderr.getvalue()
    assert lines == []
