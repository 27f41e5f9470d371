"""What other installed packages add: parts by their entry points, configs by the folder `conf` beside their code.

A package says so in its metadata, with entry points in groups that start with `clusterlab.` (`registry.PACKAGES`). The
value's first word is a package, `acme` in `acme.margin:Margin`; its configs lie in `acme/conf/<group>/<name>.yaml`. One
that brings configs alone names itself in the group `clusterlab.conf`. No package is imported to learn all this.
"""

import re
from collections.abc import Mapping
from importlib.metadata import EntryPoint, distributions
from importlib.util import find_spec
from pathlib import Path

from clusterlab.errors import UserError

OURS = "clusterlab"


def config_folders() -> dict[str, Path]:
    """Return the folder of configs of every package that has one, by the package's name."""
    every = (point for distribution in distributions() for point in distribution.entry_points)
    named = {_top(point) for point in every if point.group.startswith(f"{OURS}.")}
    folders = {package: _folder(package) for package in sorted(named - {OURS, ""})}
    return {package: folder for package, folder in folders.items() if folder is not None}


def check_configs(choices: Mapping[str, str | None], own: Path) -> None:
    """See that every chosen config lies in one place: of two, the search path takes the first without a word.

    Args:
        choices: config group, with `@` and its place where it has one → the name that is chosen.
        own: the folder of our configs.

    Raises:
        UserError: two packages have one of that name.
    """
    folders = {OURS: own} | config_folders()
    for group, name in ((place.split("@")[0], name) for place, name in choices.items()):
        homes = [package for package, folder in folders.items() if (folder / group / f"{name}.yaml").is_file()]
        if len(homes) > 1:
            raise collision(group, str(name), [f"{home} (conf/{group}/{name}.yaml)" for home in homes])


def collision(group: str, name: str, homes: list[str]) -> UserError:
    """Return the error for a name that several packages use."""
    return UserError(f"{group}={name} is in {' and in '.join(homes)}: rename it in one of them, or uninstall that one")


def described(point: EntryPoint) -> str:
    """Return whose it is and what it names, for a message."""
    return f"{_top(point) if point.dist is None else point.dist.name} ({point.value})"


def loaded(group: str, point: EntryPoint) -> object:
    """Return what the entry point names.

    Raises:
        UserError: its package cannot be imported.
    """
    try:
        return point.load()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{group}={point.name} of {described(point)} cannot be imported: {reason}") from error


def _top(point: EntryPoint) -> str:
    first = re.match(r"\w+", point.value)
    return first[0] if first else ""


def _folder(package: str) -> Path | None:
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return None
    places = () if spec is None else spec.submodule_search_locations or ()
    return next((folder.resolve() for place in places if (folder := Path(place) / "conf").is_dir()), None)
