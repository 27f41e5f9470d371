"""Sorts image files into a folder per cluster: copies of them, or links to them. No file is moved or replaced.

    DIR/3-dogs/IMG_0001.jpg     names of files are kept
    DIR/3-dogs/IMG_0001-2.jpg   another file of the same name
    DIR/4/…                     a cluster that nobody has named

What is there already is left as it is: the same command again adds nothing.
"""

import contextlib
import filecmp
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from clusterlab.errors import UserError

How = Literal["copy", "link"]
LONGEST_NAME = 255
"""Bytes, as file systems have it."""
LONGEST_CLUSTER = 50
"""Characters of a cluster's name in that of its folder: at most 200 bytes."""


class Sorter:
    """Puts files into the folders of their clusters below `root`."""

    def __init__(self, root: Path, *, how: How, num_clusters: int, names: Mapping[int, str]) -> None:
        self.root = root
        self.how = how
        width = len(str(num_clusters - 1))
        self._folders = {i: root / folder_name(f"{i:0{width}d}", names.get(i, "")) for i in range(num_clusters)}
        self._ready: set[int] = set()

    def add(self, path: Path, cluster: int) -> None:
        """Put one file into its folder.

        Raises:
            UserError: that is not possible.
        """
        try:
            folder = self._folder(cluster)
            for name in _names(path.name):
                target = folder / name
                if not os.path.lexists(target):
                    with contextlib.suppress(FileExistsError):  # another process was there first: look at what it left
                        (_copy if self.how == "copy" else _link)(path, target)
                        return
                if _same(path, target, self.how):
                    return
        except OSError as error:
            raise UserError(f"cannot {self.how} {path} to {self.root} ({error.strerror or error})") from error

    def _folder(self, cluster: int) -> Path:
        folder = self._folders[cluster]
        if cluster not in self._ready:
            if folder.is_symlink():
                raise UserError(f"{folder} is a link, which may lead anywhere: choose another folder than {self.root}")
            folder.mkdir(parents=True, exist_ok=True)
            self._ready.add(cluster)
        return folder


def folder_name(number: str, name: str) -> str:
    """Return what the folder of a cluster is called: letters, digits, spaces and hyphens, whatever its name is."""
    plain = re.sub(r"[^\w\- ]+", "_", name)[:LONGEST_CLUSTER].strip(" _-")
    return f"{number}-{plain}" if plain else number


def _names(name: str) -> Iterator[str]:
    """Yield `name`, then the same with a number before its suffix."""
    yield name
    stem, suffix = os.path.splitext(name)
    for number in itertools.count(2):
        end = f"-{number}{suffix}"
        while stem and len(os.fsencode(stem + end)) > LONGEST_NAME:
            stem = stem[:-1]
        yield f"{stem}{end}"


def _copy(path: Path, target: Path) -> None:
    """Make a whole copy appear as `target`, or raise FileExistsError."""
    with _temporary(target.parent) as temporary:
        shutil.copy2(path, temporary)
        _appear(temporary, target)


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[str]:
    """Yield the path of an empty file: without a name where the system knows such, so that a kill leaves none."""
    try:
        handle = os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600)
    except (AttributeError, OSError):
        handle, named = tempfile.mkstemp(dir=folder, prefix=".")
        os.close(handle)
        try:
            yield named
        finally:
            os.unlink(named)
        return
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def _hard_link(source: str, target: Path) -> None:
    if os.link not in os.supports_dir_fd:
        os.link(source, target)
        return
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        # Only so does Python ask the system to follow the link that stands for a file without a name.
        os.link(source, target.name, dst_dir_fd=folder)
    finally:
        os.close(folder)


def _appear(temporary: str, target: Path) -> None:
    try:
        _hard_link(temporary, target)  # unlike a renaming, it never replaces what is there
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with target.open("xb") as file, open(temporary, "rb") as source:
            shutil.copyfileobj(source, file)


def _link(path: Path, target: Path) -> None:
    target.symlink_to(path.absolute())


def _same(path: Path, target: Path, how: How) -> bool:
    """Whether `target` is what this would make of `path`."""
    if how == "link":
        return target.is_symlink() and os.readlink(target) == os.fspath(path.absolute())
    return not target.is_symlink() and target.is_file() and filecmp.cmp(path, target, shallow=False)
