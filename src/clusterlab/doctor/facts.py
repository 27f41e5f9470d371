"""What is known of this machine and its installation: plain values, so that each check can be fed any of them."""

from collections.abc import Mapping
from dataclasses import dataclass

FAISS = ("faiss-gpu", "faiss-cpu")
"""Distributions that bring faiss, all of them in the same folder."""


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """A package that clusterlab's own metadata asks for."""

    name: str
    wanted: str
    """Specifier, as in `>=2.6,<3`; may be empty."""
    extra: str | None
    """The extra it belongs to; None: needed always."""
    installed: str | None
    """Version."""
    fits: bool
    """It is installed, in a version that is wanted."""


@dataclass(frozen=True, kw_only=True)
class Installation:
    """Python packages."""

    python: str
    wanted_python: str
    """Specifier."""
    python_fits: bool
    clusterlab: str | None
    """Version; None: run from a checkout that was not installed, whose requirements are not known."""
    requirements: tuple[Requirement, ...]
    versions: Mapping[str, str]
    """Of packages whose mere presence may be wrong."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU that torch can use."""

    name: str
    memory: float
    """GiB."""
    free: float
    """GiB that no process uses."""
    capability: str
    """Of its instruction set, as in 9.0."""
    supported: bool
    """This build of torch has code for it."""


@dataclass(frozen=True, kw_only=True)
class Torch:
    """What torch says."""

    error: str | None
    """Why it cannot be imported."""
    version: str = ""
    built_for: str | None = None
    """CUDA or ROCm and its version; None: the CPU alone."""
    complaint: str | None = None
    """What it says where it finds no GPU that it can use."""
    gpus: tuple[Gpu, ...] = ()
    accelerator: str = ""
    """That `trainer=auto` chooses."""
    precision: str = ""
    """That `trainer=auto` chooses."""
    backends: tuple[str, ...] = ()
    """Of torch.distributed."""
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class Faiss:
    """The library for nearest neighbours."""

    wheels: Mapping[str, str]
    """Installed distributions that bring it → version."""
    error: str | None
    """Why it cannot be imported."""
    gpus: int
    """That it sees."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The computer, or the part of it that this process may use."""

    cores: int
    load: float | None
    """Processes that want a core, on average over a minute."""
    memory: float | None
    """GiB that this process and its like may use in all."""
    free_memory: float | None
    """GiB of them that are free."""
    shared_memory: float | None
    """GiB in /dev/shm."""
    open_files: int | None
    """That a process may have."""
    nvidia_devices: int
    """Device files of the NVIDIA driver."""
    driver: str | None
    """Version of the NVIDIA driver."""
    environment: Mapping[str, str]
    """The variables that decide about threads and GPUs, where they are set."""


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Where finished stages are kept."""

    stage_dir: str
    free: float
    """GiB."""
    writable: bool
    unfinished: int
    """Folders of stages that were not finished."""
    unfinished_size: float
    """GiB."""


@dataclass(frozen=True, kw_only=True)
class WandB:
    """The dashboard."""

    version: str | None
    has_key: bool
    mode: str | None
    """What WANDB_MODE says."""
    error: str | None
    """Why it cannot be imported."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """An entry point by which another package adds something."""

    name: str
    value: str
    group: str
    error: str | None
    """Why it cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All of it."""

    installation: Installation
    torch: Torch
    faiss: Faiss
    machine: Machine
    disk: Disk
    wandb: WandB
    points: tuple[Point, ...]
