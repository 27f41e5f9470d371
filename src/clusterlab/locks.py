"""Locks that say who holds them. The system opens a lock when its process ends, in whatever way."""

import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
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
    try:
        _sign(path)
        yield
    finally:
        lock.release()


@contextmanager
def held_alone(path: Path) -> Iterator[None]:
    """Hold the lock `path`.

    Raises:
        filelock.Timeout: another process holds it.
    """
    with FileLock(path).acquire(timeout=0):
        _sign(path)
        yield


def holder(path: Path) -> str:
    """Return who holds the lock `path`, as far as is known."""
    try:
        told = path.read_bytes()[:LONGEST].decode(errors="replace")
    except OSError:
        told = ""
    return "".join(c for c in told if c.isprintable()) or "another run"


def _sign(path: Path) -> None:
    path.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
