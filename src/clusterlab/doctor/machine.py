"""Reads what this process may use of the computer, as the system tells it."""

import importlib
import math
import os
import re
import shutil
import warnings
from contextlib import suppress
from pathlib import Path

import yaml

from clusterlab.choices import config_folder
from clusterlab.doctor.facts import Disk, Gpu, Machine, Torch
from clusterlab.doctor.packages import one_line

GIB = 2**30
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
CGROUPS = Path("/sys/fs/cgroup")


def torch() -> Torch:
    """Import torch and ask it for devices, and for what `trainer=auto` would do with them."""
    try:
        module = importlib.import_module("torch")
        from clusterlab.trainer import TrainerSettings
    except Exception as error:  # a missing library of the system is an OSError
        return Torch(error=one_line(error))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        usable = module.cuda.is_available()  # warns of a driver that is too old
    auto = yaml.safe_load((config_folder() / "trainer" / "auto.yaml").read_text(encoding="utf-8"))
    chosen = TrainerSettings.model_validate(auto).resolved()
    distributed = module.distributed
    backends = [name for name in ("gloo", "nccl", "mpi") if getattr(distributed, f"is_{name}_available")()]
    built_for = [
        f"{kind} {found}" for kind, found in (("CUDA", module.version.cuda), ("ROCm", module.version.hip)) if found
    ]
    return Torch(
        error=None,
        version=module.__version__,
        built_for=built_for[0] if built_for else None,
        complaint=None if usable or not caught else " ".join(str(caught[0].message).split()),
        gpus=tuple(_gpu(module, number) for number in range(module.cuda.device_count())) if usable else (),
        accelerator=chosen.accelerator,
        precision=chosen.precision,
        backends=tuple(backends) if distributed.is_available() else (),
        threads=module.get_num_threads(),
    )


def _gpu(torch: object, number: int) -> Gpu:
    cuda = torch.cuda  # type: ignore[attr-defined]
    about, (free, memory) = cuda.get_device_properties(number), cuda.mem_get_info(number)
    return Gpu(
        name=about.name,
        memory=memory / GIB,
        free=free / GIB,
        capability=f"{about.major}.{about.minor}",
        supported=_has_code((about.major, about.minor), cuda.get_arch_list()),
    )


def _has_code(capability: tuple[int, int], built: list[str]) -> bool:
    """Whether a build has code for a GPU: sm_XY runs on X.Y and later X.*, compute_XY on everything from X.Y on."""
    for entry in built:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", entry)
        if match is None:
            return True  # another maker's name of an architecture
        wanted = (int(match[2]), int(match[3]))
        if wanted <= capability and (match[1] == "compute" or wanted[0] == capability[0]):
            return True
    return not built


def machine() -> Machine:
    """Return what the system tells; None where it does not."""
    memory, free = _memory()
    devices = Path("/dev").glob("nvidia[0-9]*")
    return Machine(
        cores=_cores(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        memory=memory,
        free_memory=free,
        shared_memory=shutil.disk_usage("/dev/shm").total / GIB if Path("/dev/shm").is_dir() else None,
        open_files=_open_files(),
        nvidia_devices=sum(1 for _ in devices),
        driver=_driver(),
        environment={name: os.environ[name] for name in VARIABLES if name in os.environ},
    )


def _cores() -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = (CGROUPS / "cpu.max").read_text().split()
        return min(allowed, math.ceil(int(quota) / int(period)))  # "max" is no number
    return allowed


def _memory() -> tuple[float | None, float | None]:
    """Return GiB in all and GiB that are free, of the computer or of the container."""
    try:
        rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        memory, free = (int(rows[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return None, None
    with suppress(OSError, ValueError):
        limit, used = (int((CGROUPS / name).read_text()) for name in ("memory.max", "memory.current"))
        inactive = re.search(r"^inactive_file (\d+)$", (CGROUPS / "memory.stat").read_text(), flags=re.MULTILINE)
        memory = min(memory, limit)
        free = min(free, limit - used + (int(inactive[1]) if inactive else 0))  # cached files give way
    return memory / GIB, free / GIB


def _open_files() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _driver() -> str | None:
    with suppress(OSError):
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
        if match := re.search(r"\b\d+\.\d+(\.\d+)?\b", text):
            return match[0]
    return None


def disk(stage_dir: Path) -> Disk:
    """Return what is known of the place where `stage_dir` lies, or would."""
    place = stage_dir.absolute()
    while not place.exists():
        place = place.parent
    unfinished = [*stage_dir.glob("*.work"), *stage_dir.glob("images/*.part")]
    size = 0
    for path in (path for folder in unfinished for path in folder.rglob("*")):
        with suppress(OSError):  # a run may be at work
            size += path.stat().st_size if path.is_file() else 0
    return Disk(
        stage_dir=str(stage_dir),
        free=shutil.disk_usage(place).free / GIB,
        writable=place.is_dir() and os.access(place, os.W_OK | os.X_OK),
        unfinished=len(unfinished),
        unfinished_size=size / GIB,
    )


def usual_stage_dir() -> Path:
    """Return `stage_dir` as the shipped config has it."""
    return Path(yaml.safe_load((config_folder() / "config.yaml").read_text(encoding="utf-8"))["stage_dir"])
