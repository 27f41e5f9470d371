"""What is wrong: pure functions from facts to lines, each of which names the thing to change.

A problem stops runs, or makes them do something else than they say. What a person may just want to know is a hint.
"""

from collections.abc import Callable, Iterator

from clusterlab.doctor.facts import FAISS, Facts

MALICIOUS = {"lightning": ("2.6.2", "2.6.3"), "pytorch-lightning": ("2.6.2", "2.6.3")}
"""Advisory GHSA-w37p-236h-pfx3: these stole keys. Most say that `lightning` alone did; its twin is refused with it."""
DISK = 2.0
"""GiB that stages may need: 60,000 images of 32×32 pixels are 0.2, checkpoints of a ResNet-18 up to 0.3 a stage."""
MEMORY = 2.0
"""GiB that a small run takes: torch itself is most of one."""
FILES = 256
"""Open files; the smallest usual limit, that of macOS, is enough."""
SHARED_MEMORY = 0.25
"""GiB that several GPUs talk through; containers have a quarter of that unless told."""


def python(facts: Facts) -> Iterator[str]:
    """A Python that clusterlab is not made for."""
    found = facts.installation
    if not found.python_fits:
        yield f"Python {found.python} runs, but clusterlab needs {found.wanted_python}: make an environment with that"


def packages(facts: Facts) -> Iterator[str]:
    """Packages that are missing or have another version than clusterlab's metadata allows."""
    for wanted in facts.installation.requirements:
        replaced = wanted.name in FAISS and facts.faiss.wheels  # by its twin; to install it too would break both
        if wanted.fits or (wanted.installed is None and (wanted.extra or replaced)):
            continue
        is_installed = "is not installed" if wanted.installed is None else f"{wanted.installed} is installed"
        needs = f"clusterlab{f'[{wanted.extra}]' if wanted.extra else ''} needs {wanted.wanted or 'it'}"
        yield f"{wanted.name} {is_installed}, but {needs}: pip install '{wanted.name}{wanted.wanted}'"


def malicious(facts: Facts) -> Iterator[str]:
    """Releases that attackers published."""
    for name, found in facts.installation.versions.items():
        if found in MALICIOUS.get(name, ()):
            yield (
                f"{name} {found} is a release that steals keys: pip uninstall {name}, make a new environment, and "
                "replace every key and password that this machine holds"
            )


def faiss(facts: Facts) -> Iterator[str]:
    """Both wheels, which overwrite each other, or none that works."""
    found = facts.faiss
    if len(found.wheels) > 1:
        both = " and ".join(f"{name} {version}" for name, version in found.wheels.items())
        wanted = [needed.name for needed in facts.installation.requirements if needed.name in FAISS]
        yield (
            f"{both} are both installed and share one folder: pip uninstall {' '.join(found.wheels)}, then pip install "
            f"{(wanted or list(found.wheels))[0]}"
        )
    elif found.wheels and found.error:
        (name,) = found.wheels
        yield f"faiss cannot be imported ({found.error}): pip install --force-reinstall {name}"


def torch(facts: Facts) -> Iterator[str]:
    """A torch that cannot be imported, or does not fit the GPU and its driver."""
    found, machine = facts.torch, facts.machine
    if found.error:
        yield f"torch cannot be imported ({found.error}): pip install --force-reinstall torch torchvision"
        return
    hidden = "CUDA_VISIBLE_DEVICES" in machine.environment
    if machine.nvidia_devices and not found.gpus and not hidden:
        where = f"there is an NVIDIA GPU (driver {machine.driver or 'unknown'})"
        if found.built_for is None:
            yield f"{where}, but torch {found.version} is for the CPU alone: install one for CUDA (pytorch.org)"
        else:
            why = f" ({found.complaint})" if found.complaint else ""
            yield (
                f"{where}, but torch {found.version} for {found.built_for} cannot use it{why}: install a newer driver, "
                "or a build of torch for an older CUDA, see pytorch.org"
            )
    for number, gpu in enumerate(found.gpus):
        if not gpu.supported:
            yield (
                f"torch {found.version} for {found.built_for} has no code for GPU {number} ({gpu.name}, compute "
                f"capability {gpu.capability}): install another build, see pytorch.org, or use trainer=cpu"
            )


def threads(facts: Facts) -> Iterator[str]:
    """More threads than cores: they wait for each other."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        value = facts.machine.environment.get(name)
        if value is None:
            continue
        cores = facts.machine.cores
        if not value.isdecimal() or not int(value):
            yield f"{name}={value} is not a number of threads: set it to {cores} or less, or unset it"
        elif int(value) > cores:
            yield f"{name}={value}, but {cores} cores may be used: set it to {cores} or less, or unset it"


def memory(facts: Facts) -> Iterator[str]:
    """Too little of it."""
    free = facts.machine.free_memory
    if free is not None and free < MEMORY:
        yield f"{free:.1f} GiB of memory are free, and a small run needs {MEMORY:g}: end other programmes"


def shared_memory(facts: Facts) -> Iterator[str]:
    """Too little for several GPUs."""
    found = facts.machine.shared_memory
    if len(facts.torch.gpus) > 1 and found is not None and found < SHARED_MEMORY:
        yield f"/dev/shm holds {found:.2f} GiB, too little for trainer=ddp: start the container with --shm-size=1g"


def files(facts: Facts) -> Iterator[str]:
    """Too few that may be open."""
    found = facts.machine.open_files
    if found is not None and found < FILES:
        yield f"a process may have only {found} files open: ulimit -n 4096"


def disk(facts: Facts) -> Iterator[str]:
    """No room for stages."""
    found = facts.disk
    if not found.writable:
        yield f"nothing can be written to stage_dir={found.stage_dir}: choose another stage_dir=DIR, or permit it"
    elif found.free < DISK:
        yield (
            f"{found.free:.1f} GiB of disk are free for stage_dir={found.stage_dir}, and a run on 60,000 small images "
            f"may need {DISK:g}: free some, or choose another stage_dir=DIR"
        )


def wandb(facts: Facts) -> Iterator[str]:
    """One that is installed and broken; where it is missing, that is said of every package."""
    found = facts.wandb
    if found.version and found.error:
        yield f"wandb cannot be imported ({found.error}): pip install --force-reinstall wandb, or use logger=none"


def points(facts: Facts) -> Iterator[str]:
    """What other packages add and cannot be used."""
    for point in facts.points:
        if point.error:
            yield f"entry point {point.name} = {point.value} in {point.group}: {point.error}"


CHECKS: tuple[Callable[[Facts], Iterator[str]], ...] = (
    malicious, python, packages, faiss, torch, threads, memory, shared_memory, files, disk, wandb, points,
)  # fmt: skip
"""In the order in which their lines are printed: what is worst comes first."""


def problems(facts: Facts) -> list[str]:
    """Return every line; none: nothing is wrong."""
    return [line for check in CHECKS for line in check(facts)]
