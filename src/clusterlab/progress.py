"""Progress of long steps, with a time left: a bar on a terminal, a line now and then in a log."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import TypeVar

from tqdm import tqdm

log = logging.getLogger("clusterlab.progress")
T = TypeVar("T")
SECONDS_BETWEEN_LINES = 15.0


class Stopwatch:
    """Says when some seconds have passed since it last said so."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def passed(self, seconds: float) -> bool:
        """Return whether `seconds` have passed since the start or the last True."""
        now = time.monotonic()
        if now - self._last < seconds:
            return False
        self._last = now
        return True


class EpochProgress:
    """The epochs of a stage: how many are done, the latest scalars, the time left."""

    def __init__(self, title: str, epochs: int) -> None:
        self.title = title
        self.epochs = epochs
        self.bar: tqdm[None] | None = None
        self.clock = Stopwatch()
        self.done = self.first = 0
        self.start_time = 0.0

    def start(self, epoch: int) -> None:
        """Begin with `epoch` epochs already done."""
        self.done = self.first = epoch
        self.start_time = time.monotonic()
        if sys.stderr.isatty():
            self.bar = tqdm(total=self.epochs, initial=epoch, desc=self.title, unit="epoch", dynamic_ncols=True)

    def step(self, scalars: Mapping[str, float]) -> None:
        """One more epoch is done."""
        self.done += 1
        text = ", ".join(f"{name} {value:.4g}" for name, value in scalars.items())
        if self.bar is not None:
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update()
        elif self.clock.passed(SECONDS_BETWEEN_LINES):
            elapsed = time.monotonic() - self.start_time
            left = elapsed / (self.done - self.first) * (self.epochs - self.done)
            log.info(
                "%s: epoch %d of %d, %s left; %s",
                self.title,
                self.done,
                self.epochs,
                tqdm.format_interval(left),
                text,
            )

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()


class Progress:
    """How many of many are done, how fast, and the time left; nothing where it takes no longer than a moment."""

    def __init__(self, title: str, *, unit: str, total: int | None, say: Callable[[str], None] = log.info) -> None:
        """`total` is null where it is not known; `say` takes the lines where there is no terminal."""
        self.title = title
        self.unit = unit
        self.total = total
        self.say = say
        self.done = 0
        self.clock = Stopwatch()
        self.start_time = time.monotonic()
        self.bar: tqdm[None] | None = None

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            self.bar = tqdm(total=self.total, desc=self.title, unit=self.unit, delay=1, dynamic_ncols=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def add(self, count: int) -> None:
        """So many more are done."""
        self.done += count
        if self.bar is not None:
            self.bar.update(count)
        elif self.clock.passed(SECONDS_BETWEEN_LINES) and self.done:
            self.say(self._line(time.monotonic() - self.start_time))

    def _line(self, elapsed: float) -> str:
        rate = self.done / elapsed
        of, left = "", ""
        if self.total is not None:
            of = f" of {self.total}"
            left = f", {tqdm.format_interval((self.total - self.done) / rate)} left"
        return f"{self.title}: {self.unit} {self.done}{of}, {rate:.{0 if rate >= 10 else 2}f}/s{left}"


def track(steps: Iterable[T], title: str, *, unit: str = "batch") -> Iterator[T]:
    """Yield `steps` and show their progress."""
    with Progress(title, unit=unit, total=len(steps) if isinstance(steps, Sized) else None) as progress:
        for step in steps:
            yield step
            progress.add(1)
