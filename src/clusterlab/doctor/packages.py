"""Reads the metadata of the installed packages, and tries those whose import may fail."""

import importlib
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import PackageNotFoundError, distribution, distributions, version
from io import StringIO

from packaging import requirements
from packaging.specifiers import SpecifierSet

from clusterlab.doctor.facts import FAISS, Faiss, Installation, Point, Requirement, WandB
from clusterlab.errors import UserError
from clusterlab.other_packages import OURS, config_folders
from clusterlab.registry import PACKAGES, find

FOR_DEVELOPERS = "dev"
"""The extra that no run needs."""
LIGHTNING = ("lightning", "pytorch-lightning")


def installation() -> Installation:
    """Return what is installed beside what clusterlab's own metadata asks for."""
    try:
        own = distribution(OURS)
    except PackageNotFoundError:
        asked, extras, wanted_python, own_version = [], [], "", None
    else:
        asked, wanted_python, own_version = own.requires or [], own.metadata["Requires-Python"] or "", own.version
        extras = [extra for extra in own.metadata.get_all("Provides-Extra") or [] if extra != FOR_DEVELOPERS]
    return Installation(
        python=platform.python_version(),
        wanted_python=wanted_python,
        python_fits=platform.python_version() in SpecifierSet(wanted_python, prereleases=True),
        clusterlab=own_version,
        requirements=tuple(_read(asked, extras)),
        versions={name: found for name in (*FAISS, *LIGHTNING) if (found := installed(name)) is not None},
    )


def installed(name: str) -> str | None:
    """Return the version of a distribution, None where it is not installed; does not import it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _read(asked: Sequence[str], extras: Sequence[str]) -> Iterator[Requirement]:
    """Yield the requirements that hold on this platform: those of every installation, then those of each extra."""
    every = [requirements.Requirement(line) for line in asked]
    always = [wanted for wanted in every if wanted.marker is None or wanted.marker.evaluate({"extra": ""})]
    yield from (_look_up(wanted, None) for wanted in always)
    for extra in extras:
        for wanted in every:
            if wanted not in always and wanted.marker and wanted.marker.evaluate({"extra": extra}):
                yield _look_up(wanted, extra)


def _look_up(wanted: requirements.Requirement, extra: str | None) -> Requirement:
    found = installed(wanted.name)
    fits = found is not None and wanted.specifier.contains(found, prereleases=True)
    return Requirement(name=wanted.name, wanted=str(wanted.specifier), extra=extra, installed=found, fits=fits)


def faiss() -> Faiss:
    """Import faiss and ask it for GPUs."""
    wheels = {name: found for name in FAISS if (found := installed(name)) is not None}
    try:
        module = importlib.import_module("faiss")
        return Faiss(wheels=wheels, error=None, gpus=module.get_num_gpus() if hasattr(module, "get_num_gpus") else 0)
    except Exception as error:  # two wheels in one folder fail in any way
        return Faiss(wheels=wheels, error=one_line(error), gpus=0)


def wandb() -> WandB:
    """Ask wandb whether it knows a key; nothing goes over the network."""
    mode = os.environ.get("WANDB_MODE")
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # it announces whose key it found
            from clusterlab.output.weights_and_biases import has_key

            key = has_key(importlib.import_module("wandb"))
        return WandB(version=installed("wandb"), has_key=key, mode=mode, error=None)
    except Exception as error:
        return WandB(version=installed("wandb"), has_key=False, mode=mode, error=one_line(error))


def points() -> Iterator[Point]:
    """Yield what other packages add, tried as a run would."""
    groups = {package: group for group, package in PACKAGES.items()}
    folders = config_folders()
    every = {point for found in distributions() for point in found.entry_points if point.group.startswith(f"{OURS}.")}
    for point in sorted(every, key=lambda point: (point.group, point.name, point.value)):
        error = None
        if point.group in groups:
            error = _try(groups[point.group], point.name)
        elif point.group != f"{OURS}.conf":
            error = f"{point.group} is no group of entry points; groups: {', '.join([*groups, f'{OURS}.conf'])}"
        elif point.value not in folders:
            error = f"the package {point.value} has no folder conf"
        yield Point(name=point.name, value=point.value, group=point.group, error=error)


def _try(group: str, name: str) -> str | None:
    """Return why a run could not use this part, or None."""
    try:
        from clusterlab.data.sources.base import Source
        from clusterlab.models.backbones.base import Backbone
        from clusterlab.stage import Stage

        contracts: dict[str, type] = {"data": Source, "backbone": Backbone}
        find(group, name, contracts.get(group, Stage))
    except UserError as wrong:
        return str(wrong)
    except Exception as error:  # what they import themselves is broken
        return one_line(error)
    return None


def one_line(error: BaseException) -> str:
    """Return an exception as a line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
