"""Shards in the WebDataset format, https://github.com/webdataset/webdataset: tar files, read at any place.

Files that follow each other and have the same path up to the first dot of their name are one sample; that path is its
key, what follows the dot the extension of each. A scan of the tar headers finds where each file lies, and it is read
from there, so nothing is ever extracted: a name in a tar is a name, wherever it points to; links are passed over.
"""

import re
import tarfile
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, cast

from jaxtyping import UInt8
from numpy import ndarray

from clusterlab.data.decode import UnreadableImageError, decode_file
from clusterlab.data.images import Split
from clusterlab.data.tree import SUFFIXES
from clusterlab.errors import UserError

_SPLIT_WORDS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "test": "test",
    "val": "test",
    "valid": "test",
    "validation": "test",
    "unlabeled": "unlabeled",
}
_SPLIT_WORD = re.compile(rf"(?<![a-z])({'|'.join(_SPLIT_WORDS)})(?![a-z])")


MAX_IMAGE_BYTES = 2**30
"""It comes into memory; a sparse tar file may claim any size."""

_PASSED_OVER = re.compile(r"__[^/]*__($|/)|(.*/)?\.[^/]*$")
"""What the library takes for metadata, and hidden files."""


class Span(NamedTuple):
    """Where the bytes of one file lie in its shard."""

    offset: int
    size: int


class Sample(NamedTuple):
    """One sample that has an image, of which nothing has been read."""

    key: str
    image: Span
    label: Span | None
    num_images: int
    """More than one: `image` is the first with a plain extension, jpg, or else the first, seg.png."""


def library(name: str) -> Any:
    """Return the module `name` of the library webdataset, which not everybody has.

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module(f"webdataset.{name}")
    except ImportError as error:
        raise UserError("data=webdataset needs the library webdataset: pip install 'clusterlab[webdataset]'") from error


def expand(pattern: str) -> list[Path]:
    """Return the paths that a name with braces stands for: shards/{000..009}.tar, {train,test}-{00..31}.tar.

    Raises:
        UserError: the braces do not match, or a shard is missing.
    """
    try:
        paths = [Path(name).expanduser().absolute() for name in library("shardlists").expand_urls(pattern)]
    except (ValueError, AssertionError) as error:
        raise UserError(f"data.root={pattern} cannot be expanded ({error}): write shards/{{000..009}}.tar") from error
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise UserError(
            f"data.root={pattern} stands for {len(paths)} shards, and {len(missing)} of them do not exist, such as "
            f"{missing[0]}: correct the range in the braces"
        )
    return paths


def shards_below(folder: Path) -> list[Path]:
    """Return the tar files below `folder`, sorted by path; hidden ones are passed over.

    Raises:
        UserError: there is none.
    """
    below = ((path, path.relative_to(folder).parts) for path in folder.rglob("*.tar"))
    shards = sorted(path for path, parts in below if path.is_file() and not any(p.startswith(".") for p in parts))
    if not shards:
        raise UserError(f"data.root={folder} holds no shards (*.tar): set it to the folder that does, or to a tar file")
    return shards


def splits_of(names: list[str]) -> list[Split]:
    """Return the split of each shard, by a word in its path below the root; 'train' for all if one has no such word.

    train-000.tar, val/000.tar and cifar10-test-000.tar have one; the file's own name goes before its folders'.
    """
    found = [_split_of(name) for name in names]
    if None in found or {*found} == {"unlabeled"}:
        return ["train"] * len(names)
    return cast(list[Split], found)


def _split_of(name: str) -> Split | None:
    words = (_SPLIT_WORD.search(part.lower()) for part in reversed(Path(name).parts))
    return next((_SPLIT_WORDS[word[1]] for word in words if word), None)


def read_samples(shard: Path, label: str) -> tuple[list[Sample], list[tuple[str, str]]]:
    """Scan the headers of `shard`: return its samples, and (name, reason) of what looks like an image and is none.

    `label` is the extension of the file that has the label of a sample.

    Raises:
        UserError: it is damaged, compressed or no tar file, or its names are not those of samples.
    """
    skipped: list[tuple[str, str]] = []
    try:
        grouped = library("tariterators").group_by_keys(_files(shard, skipped))
        samples = [sample for found in grouped if (sample := _sample(found, label)) is not None]
    except (tarfile.TarError, OSError, ValueError, ArithmeticError, EOFError, RecursionError) as error:
        reason = " ".join(str(part) for part in error.args[:1])
        raise UserError(
            f"the shard {shard} cannot be read as a plain tar file of samples ({reason}): copy it again, "
            "unpack it if it is compressed, or leave it out"
        ) from error
    return samples, skipped


def _sample(found: dict[str, Any], label: str) -> Sample | None:
    images = sorted((ext for ext in found if f".{ext}".endswith(SUFFIXES)), key=lambda ext: "." in ext)
    return Sample(printable(found["__key__"]), found[images[0]], found.get(label), len(images)) if images else None


def _files(shard: Path, skipped: list[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Give each file as the library's own reader does, with its span in the place of its content."""
    end = -1
    with tarfile.open(shard, "r:") as tar:
        for member in tar:
            if member.size < 0 or member.offset <= end:
                raise tarfile.ReadError("a header that points backwards")
            end = member.offset
            tar.members = []  # type: ignore[attr-defined]  # as the library does: a list of all would only grow
            if _PASSED_OVER.match(member.name):
                continue
            if member.isreg() and not member.issparse():
                span = Span(member.offset_data, member.size)
                yield {"fname": member.name, "data": span, "__url__": str(shard)}
            elif not member.isdir() and member.name.lower().endswith(SUFFIXES):
                skipped.append((printable(member.name), "a sparse file" if member.issparse() else "a link or a device"))


def printable(name: str) -> str:
    """Return `name` as valid UTF-8; bytes that are not, which a tar may have, are written as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def read_bytes(shard: Path, span: Span) -> bytes:
    """Return the content of one file.

    Raises:
        OSError: the shard cannot be read, or has become shorter.
    """
    with shard.open("rb") as file:
        file.seek(span.offset)
        content = file.read(span.size)
    if len(content) < span.size:
        raise OSError(f"{shard} is shorter than it was")
    return content


def decode(shard: Path, span: Span, size: int) -> UInt8[ndarray, "3 y x"]:
    """Return one image, decoded as a file of its own is.

    Raises:
        UnreadableImageError: as `decode_file`.
    """
    if span.size > MAX_IMAGE_BYTES:
        raise UnreadableImageError(f"{span.size} bytes, more than {MAX_IMAGE_BYTES}, the limit of an image in a shard")
    try:
        content = read_bytes(shard, span)
    except OSError as error:
        raise UnreadableImageError(str(error)) from error
    with tempfile.NamedTemporaryFile(prefix="clusterlab-") as file:
        file.write(content)
        file.flush()
        return decode_file(Path(file.name), size)
