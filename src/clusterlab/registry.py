"""Finds a part by the name that a person types: the file of that name in the group's package, or an entry point.

`head=scan` is the one class in `clusterlab/heads/scan.py` that fills the group's contract. Another package adds a part
with an entry point in the group `clusterlab.heads` (or another of `PACKAGES`); a name that two have is refused.
"""

import difflib
import importlib
import inspect
import pkgutil
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from clusterlab.errors import UserError
from clusterlab.other_packages import collision, described, loaded

PACKAGES = {
    "features": "clusterlab.features",
    "head": "clusterlab.heads",
    "student": "clusterlab.students",
    "computed": "clusterlab.computed",
    "data": "clusterlab.data.sources",
    "backbone": "clusterlab.models.backbones",
}
"""Config group → package of its parts, which is also the group of their entry points."""

T = TypeVar("T")


def names(group: str) -> list[str]:
    """Return every name that `find` knows in `group`, sorted."""
    return sorted({*own_names(group), *(point.name for point in entry_points(group=PACKAGES[group]))})


def own_names(group: str) -> list[str]:
    """Return the names of the parts in the group's package, sorted."""
    path = importlib.import_module(PACKAGES[group]).__path__
    return sorted(module.name for module in pkgutil.iter_modules(path) if module.name != "base")


def points_of(group: str, name: str) -> list[EntryPoint]:
    """Return the entry points by which other packages bring a part `name`: more than one if they collide."""
    return [point for point in entry_points(group=PACKAGES[group]) if point.name == name]


def find(group: str, name: str, contract: type[T]) -> type[T]:
    """Return the class of part `name` in `group`, which fills `contract`.

    Raises:
        UserError: there is no such part, there are two, or its package is broken.
    """
    package = PACKAGES[group]
    own, points = name in own_names(group), points_of(group, name)
    homes = [f"clusterlab ({package}.{name})"] * own + [described(point) for point in points]
    if not homes:
        known = names(group)
        raise UserError(
            f"{group}={name} is not known{nearest(name, known)}; choices: {', '.join(known)}; another package adds to "
            f"them by an entry point in the group {package}"
        )
    if len(homes) > 1:
        raise collision(group, name, homes)
    return _own(f"{package}.{name}", contract) if own else _other(group, points[0], contract)


def nearest(word: str, known: list[str]) -> str:
    """Return ' (did you mean X?)' for the nearest of `known`, or nothing."""
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _own(module_name: str, contract: type[T]) -> type[T]:
    module = importlib.import_module(module_name)
    classes = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, contract) and member.__module__ == module.__name__ and not inspect.isabstract(member)
    ]
    if len(classes) != 1:
        raise TypeError(f"{module.__name__} must define one {contract.__name__}, found {len(classes)}")
    return classes[0]


def _other(group: str, point: EntryPoint, contract: type[T]) -> type[T]:
    part = loaded(group, point)
    if not (inspect.isclass(part) and issubclass(part, contract)):
        raise UserError(f"{group}={point.name} of {described(point)} is not a {contract.__name__}")
    if inspect.isabstract(part):
        missing = ", ".join(sorted(part.__abstractmethods__))  # type: ignore[attr-defined]
        raise UserError(f"{group}={point.name} of {described(point)} does not define {missing}")
    return part
