"""Locks between processes that leave no file behind."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock


@contextmanager
def held(lock: FileLock) -> Iterator[None]:
    """Hold `lock`, which may be acquired already, and remove its file at the end.

    The file goes while the lock is held. Who waits for it then holds a file that has no name any more, which filelock
    notices: it tries again with the new one. The system opens the lock of a process that is killed.
    """
    with lock:
        try:
            yield
        finally:
            with suppress(OSError):  # Windows, where filelock removes it itself
                Path(lock.lock_file).unlink()
