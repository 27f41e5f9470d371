"""Shows the facts to a person."""

from collections.abc import Iterable, Iterator, Sequence

from clusterlab.doctor.facts import Facts, Requirement

Row = tuple[str, str]


def page(facts: Facts, problems: Sequence[str], hints: Sequence[str]) -> str:
    """Return the sections, the hints and, at the end, what is wrong."""
    sections = {
        "Versions": _versions(facts),
        "Devices": _devices(facts),
        "Neighbours (faiss)": _faiss(facts),
        "Extras": _extras(facts.installation.requirements),
        "Dashboard (W&B)": _wandb(facts),
        "Threads": _threads(facts),
        "Disk and limits": _limits(facts),
        "Other packages": _points(facts),
    }
    parts = ["\n".join([title, *_aligned(list(rows))]) for title, rows in sections.items()]
    if hints:
        parts.append("\n".join(["Hints", *(f"  {line}" for line in hints)]))
    parts.append("\n".join(["What is wrong", *(f"  {line}" for line in problems or ["nothing"])]))
    return "\n\n".join("\n".join(map(printable, part.splitlines())) for part in parts)


def printable(line: str) -> str:
    """Return the line without what would steer a terminal: names come from files and from other packages."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _aligned(rows: Sequence[Row]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    return [f"  {name.ljust(width)}  {printable(text)}".rstrip() for name, text in rows]


def _versions(facts: Facts) -> Iterator[Row]:
    found = facts.installation
    yield "clusterlab", found.clusterlab or "not installed (a checkout)"
    yield "Python", f"{found.python}   {found.wanted_python}"
    for wanted in found.requirements:
        if wanted.extra is None:
            yield wanted.name, f"{wanted.installed or 'MISSING'}   {wanted.wanted}{'' if wanted.fits else '   WRONG'}"


def _devices(facts: Facts) -> Iterator[Row]:
    machine, torch = facts.machine, facts.torch
    yield "CPU cores", str(machine.cores)
    yield "memory", f"{_gib(machine.memory)}, {_gib(machine.free_memory)} free"
    if torch.error:
        yield "torch", f"cannot be imported: {torch.error}"
        return
    for number, gpu in enumerate(torch.gpus):
        yield f"GPU {number}", f"{gpu.name}, {_gib(gpu.memory)}, {_gib(gpu.free)} free, capability {gpu.capability}"
    if not torch.gpus:
        yield "GPU", "none that torch can use"
    yield (
        "torch",
        f"{torch.version}, built for {torch.built_for or 'the CPU'}; NVIDIA driver: {machine.driver or 'none'}",
    )
    yield "trainer=auto", f"{torch.accelerator}, {torch.precision}"
    yield "processes", f"torch.distributed with {', '.join(torch.backends) or 'nothing'}"


def _faiss(facts: Facts) -> Iterator[Row]:
    found = facts.faiss
    yield "installed", ", ".join(f"{name} {version}" for name, version in found.wheels.items()) or "nothing"
    yield "sees", found.error or (f"{found.gpus} GPUs" if found.gpus else "no GPU")


def _extras(requirements: Iterable[Requirement]) -> Iterator[Row]:
    extras: dict[str, list[Requirement]] = {}
    for wanted in requirements:
        if wanted.extra:
            extras.setdefault(wanted.extra, []).append(wanted)
    for extra, parts in extras.items():
        missing = [part.name for part in parts if part.installed is None]
        there = ", ".join(f"{part.name} {part.installed}" for part in parts if part.installed)
        yield extra, f"missing {', '.join(missing)}: pip install 'clusterlab[{extra}]'" if missing else there
    if not extras:
        yield "", "not known"


def _wandb(facts: Facts) -> Iterator[Row]:
    found = facts.wandb
    yield "wandb", found.version or "not installed"
    if found.mode != "disabled":  # where it is, no key is looked for
        yield "key", "configured" if found.has_key else "none: runs are recorded offline"
    yield "WANDB_MODE", found.mode or "not set"


def _threads(facts: Facts) -> Iterator[Row]:
    machine = facts.machine
    yield "torch", str(facts.torch.threads or "not known")
    yield "OMP_NUM_THREADS", machine.environment.get("OMP_NUM_THREADS", "not set: as many as there are cores")
    yield "load", "not known" if machine.load is None else f"{machine.load:.1f} on {machine.cores} cores"


def _limits(facts: Facts) -> Iterator[Row]:
    disk, machine = facts.disk, facts.machine
    yield "stage_dir", f"{disk.stage_dir}: {_gib(disk.free)} free, {disk.unfinished} unfinished folders"
    yield "/dev/shm", _gib(machine.shared_memory)
    yield "open files", "no limit" if machine.open_files is None else str(machine.open_files)


def _points(facts: Facts) -> Iterator[Row]:
    for point in facts.points:
        yield f"{point.group}: {point.name}", f"{point.value}{'   WRONG' if point.error else ''}"
    if not facts.points:
        yield "none", ""


def _gib(size: float | None) -> str:
    return "not known" if size is None else f"{size:.1f} GiB"
