"""What lies in a sweep's folder about its jobs: the plan, and a record of each.

sweep.json      the plan: what the command says, and which process is at it
jobs/N.json     what became of job N in this run of the command
running.lock    held by that process for as long as it lives
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clusterlab.durable import write_text

PLAN, JOBS, LOCK = "sweep.json", "jobs", "running.lock"


@dataclass(frozen=True)
class Plan:
    """What all jobs of a sweep have in common."""

    id: str
    """Of this run of the command."""
    host: str
    fixed: tuple[str, ...]
    """The settings that the command gives one value; every other one that a job has varies."""
    options: tuple[str, ...]
    """Words that each job's command needs beside its settings."""
    count: int
    """How many jobs there are, 0 where that is not known."""

    def write(self, folder: Path) -> None:
        """Leave the plan where the jobs find it."""
        write_text(folder / PLAN, json.dumps(asdict(self), indent=1) + "\n")

    @staticmethod
    def read(folder: Path) -> "Plan":
        """Return the plan in a sweep's folder."""
        values = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        return Plan(**values | {name: tuple(values[name]) for name in ("fixed", "options")})


@dataclass(frozen=True)
class Record:
    """What became of one job."""

    number: int
    words: tuple[str, ...]
    varied: tuple[str, ...]
    """Which of the settings vary in this sweep."""
    run_dir: str
    seed: int
    error: str | None = None
    """One line; None for a job that is done."""
    before: bool = False
    """Whether an earlier command had done it."""
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Those of its words that vary, or all."""
        varied = [word for word in self.words if setting_of(word) in self.varied]
        return " ".join(varied or self.words) or "the only job"


def setting_of(word: str) -> str:
    """Return which setting `name=value` sets."""
    return word.split("=", 1)[0].lstrip("+~")


def records(folder: Path) -> list[Record]:
    """Return what became of the jobs, in their order."""
    found = []
    for path in (folder / JOBS).glob("*.json"):
        values = json.loads(path.read_text(encoding="utf-8"))
        found.append(Record(**values | {name: tuple(values[name]) for name in ("words", "varied")}))
    return sorted(found, key=lambda record: record.number)


def leave(folder: Path, plan: Plan, record: Record) -> None:
    """Write the record into the sweep's folder, unless the command was stopped and given again."""
    with suppress(OSError, ValueError):
        if Plan.read(folder).id == plan.id:
            write_text(folder / JOBS / f"{record.number}.json", json.dumps(asdict(record)) + "\n")


def is_running(folder: Path, own_id: str) -> bool:
    """Whether that run of the sweep's command still goes on, on this machine."""
    try:
        if Plan.read(folder).id != own_id:
            return False
        with FileLock(folder / LOCK).acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False
