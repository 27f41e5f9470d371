"""Errors that a person can put right.

The command line shows a `UserError` as one line and ends with exit code 2; every other exception is a
defect of clusterlab and keeps its traceback.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path


class UserError(Exception):
    """One clear line: what is wrong, which values exist, what to change."""


MISTAKE = 2
"""The exit code of a command that a person has to put right."""
TOLD = "clusterlab: "
"""What its one line begins with."""
LAUNCHED = "CLUSTERLAB_LAUNCHED"
"""Environment of processes that a command has started to train together: the folder in which they leave their lines."""


def launched() -> bool:
    """Return whether another process of this command has started this one."""
    return LAUNCHED in os.environ


def tell(line: str) -> None:
    """Say the last line of a command that ends early.

    All of several processes may come to say it, or be ended before they do: they leave it to the one that started them,
    which says one.
    """
    if launched():
        with suppress(OSError):  # where the disk is full, it is said here
            line_of(Path(os.environ[LAUNCHED]), int(os.environ["RANK"])).write_text(line, encoding="utf-8")
            return
    print(f"{TOLD}{line}", file=sys.stderr)


def line_of(folder: Path, rank: int) -> Path:
    """Return the file in which a process leaves its line."""
    return folder / f"{rank}.line"
