"""A group of processes with a limit to their memory, beyond which the Linux kernel kills them: as in a container."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILES = {
    Path("/sys/fs/cgroup/memory"): ("memory.limit_in_bytes", "memory.max_usage_in_bytes"),
    Path("/sys/fs/cgroup"): ("memory.max", "memory.peak"),
}
"""Root of the groups (cgroup 1, cgroup 2) → files of the limit and of the most that was used."""
MIB = 2**20


class MemoryGroup:
    """`join` is for the process itself, before it does anything."""

    def __init__(self, folder: Path, limit: str, peak: str) -> None:
        self.folder = folder
        self._limit, self._peak = folder / limit, folder / peak

    def allow(self, mebibytes: float) -> None:
        self._limit.write_text(str(round(mebibytes * MIB)))

    def join(self) -> None:
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def peak(self) -> float:
        """Return the most that was used, in MiB."""
        return int(self._peak.read_text()) / MIB


@contextmanager
def memory_group() -> Iterator[MemoryGroup | None]:
    """Yield a new group, or None where the system does not let us make one."""
    for root, (limit, peak) in FILES.items():
        folder = root / f"clusterlab-test-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            yield MemoryGroup(folder, limit, peak) if (folder / limit).exists() else None
        finally:
            folder.rmdir()
        return
    yield None
