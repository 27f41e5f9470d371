"""Locks between processes: they say who holds them, and leave no file behind.

The system opens a lock when its process ends, in whatever way.
"""

import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

LONGEST = 200
"""Characters of a holder that are shown: what stands in the file may come from elsewhere."""


@contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Hold the lock `path`; wait for whoever else holds it to make `what`, and say so."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("%s is making %s: waiting for it", holder(path), what)
        lock.acquire()
    with _signed(lock):
        yield


@contextmanager
def held_alone(path: Path) -> Iterator[None]:
    """Hold the lock `path`.

    Raises:
        filelock.Timeout: another process holds it.
    """
    lock = FileLock(path)
    lock.acquire(timeout=0)
    with _signed(lock):
        yield


def remove_left(path: Path) -> None:
    """Remove the file of a lock that a killed process has left behind; one that is held stays."""
    if path.exists():
        with suppress(Timeout, OSError), held_alone(path):
            pass


def holder(path: Path) -> str:
    """Return who holds the lock `path`, as far as is known."""
    try:
        told = path.read_bytes()[:LONGEST].decode(errors="replace")
    except OSError:
        told = ""
    return "".join(c for c in told if c.isprintable()) or "another run"


@contextmanager
def _signed(lock: FileLock) -> Iterator[None]:
    """Say in the file of `lock`, which is acquired, who holds it; at the end remove the file and open the lock.

    The file goes while the lock is held. Who waits for it then holds a file that has no name any more, which filelock
    notices: it tries again with the new one.
    """
    path = Path(lock.lock_file)
    try:
        path.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
        yield
    finally:
        with suppress(OSError):  # Windows, where filelock removes it itself
            path.unlink()
        lock.release()
