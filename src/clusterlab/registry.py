"""Finds a part by the name that a person types: the file of that name in the group's package, or an entry point.

`head=scan` is the one class in `clusterlab/heads/scan.py` that fills the group's contract. Another package adds a part
with an entry point in the group `clusterlab.heads` (or features, students, computed, sources, backbones).
"""

import difflib
import importlib
import inspect
import pkgutil
from importlib.metadata import entry_points
from typing import TypeVar

from clusterlab.data.sources.base import Source
from clusterlab.errors import UserError
from clusterlab.models.backbones.base import Backbone
from clusterlab.stage import Stage

PACKAGES: dict[str, tuple[str, type]] = {
    "features": ("clusterlab.features", Stage),
    "head": ("clusterlab.heads", Stage),
    "student": ("clusterlab.students", Stage),
    "computed": ("clusterlab.computed", Stage),
    "data": ("clusterlab.data.sources", Source),
    "backbone": ("clusterlab.models.backbones", Backbone),
}
"""Config group → package of its parts and the contract that they fill."""

T = TypeVar("T", bound=type)


def names(group: str) -> list[str]:
    """Return every name that `find` knows in `group`, sorted."""
    package, _ = PACKAGES[group]
    own = {m.name for m in pkgutil.iter_modules(importlib.import_module(package).__path__) if m.name != "base"}
    return sorted(own | {point.name for point in entry_points(group=package)})


def find(group: str, name: str) -> type:
    """Return the class of part `name` in `group`.

    Raises:
        UserError: there is no such part.
    """
    package, contract = PACKAGES[group]
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


def _checked(part: object, contract: type, where: str) -> type:
    if not (inspect.isclass(part) and issubclass(part, contract)):
        raise UserError(f"the entry point {where} is not a {contract.__name__}")
    return part
