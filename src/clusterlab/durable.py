"""Files that are whole or not there: written under a temporary name, synced, then renamed; and what disks refuse."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clusterlab.errors import UserError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
REFUSED = frozenset(
    {errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENAMETOOLONG, errno.ELOOP}
    | {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT}
)
"""What else a person can put right, by another folder or a look at this one."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; what was written there takes the place of `path` if the block succeeds.

    A link in the place of either is replaced, not followed.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    remove(temporary)
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with the line ends it has."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it, if there is one; never what a link leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush the files of `folder`, and their names, to the disk."""
    for path in folder.iterdir():
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def refusals_told(place: Path, setting: str) -> Iterator[None]:
    """Say in one line what the disk refused in `place`, which `setting` chooses.

    Raises:
        UserError: the disk is full, or nothing can be written there.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        refused = _refusal(error)
        if refused is None:
            raise
        number, name = refused
        if name and not _same_branch(Path(os.path.abspath(name)), Path(os.path.abspath(place))):
            raise
        if number in FULL:
            raise UserError(
                f"the disk is full: no room in {setting}={place}; make room, or choose {setting}=DIR on another disk; "
                "the same command goes on where it stopped"
            ) from error
        if number == errno.EFBIG:
            raise UserError(
                f"a file in {setting}={place} would be larger than the system allows: raise that limit (ulimit -f), or "
                f"choose {setting}=DIR on another disk"
            ) from error
        where = f" ({name})" if name else ""
        raise UserError(
            f"cannot write to {setting}={place}: {os.strerror(number)}{where}; choose another {setting}=DIR"
        ) from error


def _same_branch(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def _refusal(error: BaseException | None) -> tuple[int, str] | None:
    """Return number and file name of the system's error in `error`, or in what it came of.

    PyTorch raises an error of its own while it handles that of the file; safetensors tells the number in its text.
    """
    while error is not None:
        if isinstance(error, OSError):
            number = error.errno
        else:
            told = re.search(r"\(os error (\d+)\)", str(error))
            number = int(told.group(1)) if told else None
        if number in FULL | REFUSED:
            assert number is not None
            return number, str(getattr(error, "filename", None) or "")
        error = error.__cause__ or error.__context__
    return None
