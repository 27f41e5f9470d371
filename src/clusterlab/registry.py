"""Finds a part by the name that a person types: the file of that name in the group's package, or an entry point.

`head=scan` is the one class in `clusterlab/heads/scan.py` that fills the group's contract. Another package adds a part
with an entry point in the group `clusterlab.heads` (or another of `PACKAGES`).
"""

import difflib
import importlib
import inspect
import pkgutil
from importlib.metadata import entry_points
from typing import TypeVar

from clusterlab.errors import UserError

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
    package = PACKAGES[group]
    own = {m.name for m in pkgutil.iter_modules(importlib.import_module(package).__path__) if m.name != "base"}
    return sorted(own | {point.name for point in entry_points(group=package)})


def find(group: str, name: str, contract: type[T]) -> type[T]:
    """Return the class of part `name` in `group`, which fills `contract`.

    Raises:
        UserError: there is no such part.
    """
    package = PACKAGES[group]
    known = names(group)
    if name not in known:
        raise UserError(f"{group}={name} is not known{nearest(name, known)}; choices: {', '.join(known)}")
    for point in entry_points(group=package):
        if point.name == name:
            return _checked(point.load(), contract, point.value)
    module = importlib.import_module(f"{package}.{name}")
    classes = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, contract) and member.__module__ == module.__name__ and not inspect.isabstract(member)
    ]
    if len(classes) != 1:
        raise TypeError(f"{module.__name__} must define one {contract.__name__}, found {len(classes)}")
    return classes[0]


def nearest(word: str, known: list[str]) -> str:
    """Return ' (did you mean X?)' for the nearest of `known`, or nothing."""
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _checked(part: object, contract: type[T], where: str) -> type[T]:
    if not (inspect.isclass(part) and issubclass(part, contract)):
        raise UserError(f"the entry point {where} is not a {contract.__name__}")
    return part
