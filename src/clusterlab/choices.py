"""What there is to choose: the config files of each group, listed without Hydra, whose import takes a second."""

from collections.abc import Sequence
from pathlib import Path

INTERNAL = ("computed", "recipe")
"""Groups that the defaults list fills; nobody chooses in them."""


def config_folder() -> Path:
    """Return the folder of the shipped configs: inside the wheel, or beside src/ in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


def choices(folders: Sequence[Path]) -> dict[str, list[str]]:
    """Return group → the names in it, sorted; groups inside groups and internal ones are left out."""
    found: dict[str, set[str]] = {}
    for path in (path for folder in folders for path in folder.glob("*/*.yaml")):
        found.setdefault(path.parent.name, set()).add(path.stem)
    return {group: sorted(found[group]) for group in sorted(found) if group not in INTERNAL}


def file_of(group: str, name: str, folders: Sequence[Path]) -> Path | None:
    """Return the file of `group=name` in the first of the folders that has it, as Hydra looks for it."""
    paths = (folder / group / f"{name}.yaml" for folder in folders)
    return next((path for path in paths if path.is_file()), None)
