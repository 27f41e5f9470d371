"""What the benchmarks share: the memory and the description of the machine, and the file of their figures."""

import ctypes
import json
import os
import platform
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


def processor() -> str:
    """Name of the processor, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    return names[0].split(":")[1].strip() if names else platform.processor()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def file_stem(name: str) -> str:
    """A name for files from that of a machine: `AMD EPYC 9B45 64-Core Processor, 2 cores` is amd-epyc-9b45-2-cores."""
    plain = re.sub(r"\([A-Za-z]+\)|@ ?[\d.]+ ?GHz|\d+-Core\b|\b(CPU|Processor)\b", " ", name)
    return "-".join(re.findall(r"[a-z0-9]+", plain.lower()))


def describe_machine(**more: str) -> dict[str, Any]:
    """Print in one line, and return, the processor, the threads and the versions; `more` is of one benchmark alone."""
    machine = {
        "processor": processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        **more,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    return machine


def keep_freed_memory() -> None:
    """Have glibc keep the memory of freed tensors, as clusterlab's command line does.

    By default it gives large blocks back at once, and every one is mapped anew, page by page.
    """
    libc = ctypes.CDLL("libc.so.6")
    for parameter in (-3, -1):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
        if not libc.mallopt(parameter, 1 << 30):
            raise RuntimeError("mallopt refused")


def resident(field: str) -> int:
    """Bytes in memory now (VmRSS; of its own: RssAnon, of files: RssFile) or at most since `forget_peak` (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def forget_peak() -> None:
    """Begin a new VmHWM."""
    Path("/proc/self/clear_refs").write_text("5")


@contextmanager
def watched(*fields: str) -> Iterator[dict[str, int]]:
    """Keep the highest of what `resident` says of each field, looked up 50 times a second."""
    most, done = {field: resident(field) for field in fields}, threading.Event()

    def look() -> None:
        for field in fields:
            most[field] = max(most[field], resident(field))

    def watch() -> None:
        while not done.wait(0.02):
            look()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        done.set()
        watcher.join()
        look()


def write_figures(path: Path, figures: Mapping[str, Any]) -> None:
    """Write `figures` as readable JSON."""
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
