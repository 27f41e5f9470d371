"""How much memory a piece of work takes at most; only Linux tells."""

from collections.abc import Callable
from pathlib import Path

import pytest

MEGABYTE = 2**20
needs_the_peak = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak")


def peak_growth(work: Callable[[], object]) -> float:
    """Megabytes that the process came to have in memory beyond what it had, files that are mapped among them."""

    def resident(field: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024

    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    work()
    return (resident("VmHWM") - before) / MEGABYTE
