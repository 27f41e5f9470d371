"""What a person may want to know: nothing is wrong, but runs could be faster, or take less room."""

from collections.abc import Iterator

from clusterlab.doctor.facts import FAISS, Facts


def hints(facts: Facts) -> list[str]:
    """Return a line for each."""
    return [*_installed(facts), *_gpu(facts), *_shared(facts), *_left(facts)]


def _installed(facts: Facts) -> Iterator[str]:
    if facts.installation.clusterlab is None:
        yield "clusterlab runs from a checkout that is not installed, so no versions are checked: pip install -e ."
    for wanted in facts.installation.requirements:
        if wanted.name in FAISS and wanted.installed is None and facts.faiss.wheels:
            other = ", ".join(facts.faiss.wheels)
            yield f"{other} serves in the place of {wanted.name}; to change it, pip uninstall {other} first"


def _gpu(facts: Facts) -> Iterator[str]:
    found, hidden = facts.torch, facts.machine.environment.get("CUDA_VISIBLE_DEVICES")
    if facts.machine.nvidia_devices and not found.gpus and hidden is not None:
        yield f"CUDA_VISIBLE_DEVICES={hidden} hides the GPU"
    if found.gpus and not facts.faiss.gpus:
        yield "faiss sees no GPU: it looks for neighbours on the CPU, with the same result"


def _shared(facts: Facts) -> Iterator[str]:
    machine, threads = facts.machine, facts.torch.threads
    if machine.load is not None and machine.load > machine.cores and threads > 1:
        yield (
            f"other programmes use the {machine.cores} cores (load {machine.load:.1f}): OMP_NUM_THREADS=1 for each of "
            "several runs is faster than threads that wait for each other"
        )


def _left(facts: Facts) -> Iterator[str]:
    disk = facts.disk
    if disk.unfinished:
        yield (
            f"{disk.stage_dir} has {disk.unfinished} unfinished folders (*.work, images/*.part), "
            f"{disk.unfinished_size:.1f} GiB: the commands that left them go on from there; else delete them"
        )
