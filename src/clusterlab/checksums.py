"""Checksums of the files in a folder, in a file that `sha256sum --check SHA256SUMS` reads too."""

import hashlib
from pathlib import Path

SUMS = "SHA256SUMS"


class DamagedFileError(ValueError):
    """A file is missing, or is not what was written."""


def seal(folder: Path) -> None:
    """Note the checksum of every file in `folder`."""
    lines = [f"{_sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir()) if path.name != SUMS]
    (folder / SUMS).write_bytes("".join(lines).encode())


def check(folder: Path, *needed: str) -> None:
    """See that the files that were in `folder` when it was sealed are what they were, the `needed` ones among them.

    Raises:
        DamagedFileError: one is not.
    """
    try:
        *lines, end = (folder / SUMS).read_bytes().decode().split("\n")
        sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        if end or not sums.keys() >= set(needed) or any(Path(name).name != name for name in sums):
            raise DamagedFileError(f"{folder / SUMS} is not what was written")
        for name, digest in sums.items():
            if _sha256(folder / name) != digest:
                raise DamagedFileError(f"{folder / name} is not what was written")
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{folder / SUMS} is not what was written") from error
    except OSError as error:
        raise DamagedFileError(f"{error.filename or folder} cannot be read ({error.strerror})") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
