"""Runs the command in processes that are ended at a chosen moment.

The processes are forked from one that has imported everything: a run on the digits then takes a second or two instead
of ten, and nearly every moment of it lies in its work.
"""

import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

from memory_group import MemoryGroup

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    [
        "clusterlab.command_line", "clusterlab.run", "clusterlab.predict.files", "clusterlab.export.folder",
        "faiss", "sklearn.cluster", "sklearn.manifold", "sklearn.metrics", "sklearn.datasets",
    ]
)  # fmt: skip
PATIENCE = 60
STARTS = re.compile(r"\[\S+\] (\w+): \S+: (?:starting|going on)")
ENDS = re.compile(r"\[\S+\] (\w+): \S+: (?:done|loaded)")
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
"""Audit events of what changes files, beside opening one to write."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
COUNTED = "counted: "


@dataclass(frozen=True)
class When:
    """When a process is ended, and how; the first that is given counts."""

    signal: int = signal.SIGKILL
    after: float | None = None
    """Seconds."""
    change: int | None = None
    """How many changes of files it has made, and is about to make the next."""
    step: int | None = None
    """How many steps of training it has begun."""
    memory: float | None = None
    """MiB that its group may use; then the kernel ends it."""

    def __str__(self) -> str:
        told = {"s": self.after, " changes of files": self.change, " steps": self.step, " MiB": self.memory}
        moment = ", ".join(f"{value:.4g}{unit}" for unit, value in told.items() if value is not None)
        return f"{'out of memory' if self.memory else signal.Signals(self.signal).name} after {moment or 'its end'}"


@dataclass(frozen=True)
class Ended:
    """A process that has ended, by itself or not."""

    code: int
    """Negative: minus the signal that ended it."""
    output: str
    seconds: float

    @property
    def stage(self) -> str:
        """What it was at when it ended."""
        told = [(match.start(), match[1]) for match in STARTS.finditer(self.output)]
        over = [match[1] for match in ENDS.finditer(self.output, told[-1][0] if told else 0)]
        return f"after {over[-1]}" if over else told[-1][1] if told else "before the first stage"

    def counted(self, what: str) -> int:
        """Return how many `what` it went through, if it came to its end or was stopped in order."""
        (line,) = (line for line in self.output.splitlines() if line.startswith(COUNTED))
        return int(dict(part.split("=") for part in line.removeprefix(COUNTED).split())[what])


class Running:
    """A process at work."""

    def __init__(self, folder: Path, *words: str, when: When | None = None, group: MemoryGroup | None = None) -> None:
        """Start `python -m clusterlab WORDS` in `folder`, and wait until it begins with them."""
        self.log = folder.with_name(f"{folder.name}.log")
        begun = FORKED.Event()
        self.process = FORKED.Process(target=_main, args=(folder, words, self.log, when or When(), group, begun))
        self.process.start()
        begun.wait(PATIENCE)
        self.began = time.monotonic()

    def kill_once(self, sign: Callable[[], object]) -> None:
        """Kill it as soon as `sign()` is true."""
        while not sign():
            assert self.process.is_alive(), self.output
            assert time.monotonic() < self.began + PATIENCE
            time.sleep(0.001)
        self.process.kill()
        self.process.join()

    @property
    def output(self) -> str:
        """What it has said so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def end(self) -> Ended:
        """Wait until it ends."""
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise AssertionError(f"it does not end:\n{self.output}")
        return Ended(self.process.exitcode, self.output, time.monotonic() - self.began)


def run(folder: Path, *words: str, when: When | None = None, group: MemoryGroup | None = None) -> Ended:
    """Run `python -m clusterlab WORDS` in `folder`, and end it there if that is asked for."""
    running = Running(folder, *words, when=when, group=group)
    if when is not None and when.after is not None:
        running.process.join(when.after)
        if running.process.is_alive():
            os.kill(running.process.pid, when.signal)
    return running.end()


def succeed(folder: Path, *words: str, code: int = 0) -> str:
    """Run `python -m clusterlab WORDS` in `folder` to its end, see that it is `code`, and return what it said."""
    ended = run(folder, *words)
    assert ended.code == code, ended.output
    return ended.output.partition(f"\n{COUNTED}")[0]


def leftovers(folder: Path) -> list[str]:
    """Return the files and folders that only a command at work needs."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if re.search(r"^\.|\.(tmp|work|part|lock|old)$", path.name)
    )


def _main(folder: Path, words: tuple[str, ...], log: Path, when: When, group: MemoryGroup | None, begun: Event) -> None:
    from clusterlab import __main__ as command

    answer = command._answer

    def begin(words: list[str]) -> None:
        begun.set()
        answer(words)

    command._answer = begin  # from here on the command has its own way with signals
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout = sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115  to the process's end
    sys.argv = ["clusterlab", *words]
    os.chdir(folder)
    end = lambda: os.kill(os.getpid(), when.signal)  # noqa: E731
    changes, steps = _at_change(when.change, end), _at_step(when.step, end)
    if group is not None:
        group.join()
    try:
        command.main()
    finally:
        os.write(2, f"\n{COUNTED}changes={changes[0]} steps={steps[0]}\n".encode())


def _at_change(number: int | None, end: Callable[[], None]) -> list[int]:
    count = [0]

    def heed(event: str, about: tuple[object, ...]) -> None:
        if event in CHANGES or (event == "open" and isinstance(about[2], int) and about[2] & WRITES):
            if count[0] == number:
                end()
            count[0] += 1

    sys.addaudithook(heed)
    return count


def _at_step(number: int | None, end: Callable[[], None]) -> list[int]:
    from clusterlab.training import TrainedStage

    count = [0]

    def heed(*_: object) -> None:
        count[0] += 1
        if count[0] == number:
            end()

    TrainedStage.on_train_batch_start = heed
    return count
