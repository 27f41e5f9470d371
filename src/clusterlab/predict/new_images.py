"""Which images are to be labelled: of a folder, a file, a list of files, or an array. None is opened here."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import UInt8

from clusterlab.data.array_layout import channels_last
from clusterlab.data.decode import UnreadableImageError
from clusterlab.data.tree import SUFFIXES, read_tree
from clusterlab.errors import UserError
from clusterlab.output.safe_text import original_text

LISTS = (".txt", ".parquet")
COLUMNS = ("path", "id")
"""Where a Parquet file has its paths, the first that is there. Those of `id` are in the form of `safe_text`."""
ROWS = 4096
"""Of a Parquet file, read at a time."""

Source = Path | UInt8[np.ndarray, "y x c"] | UnreadableImageError
"""A file, pixels, or why there is neither."""


class NewImage(NamedTuple):
    """An image by the name that it has in the table."""

    id: str
    source: Source


@dataclass(frozen=True, eq=False)
class NewImages:
    """The images in their order; of a list or a folder only the names are held, if at all."""

    each: Callable[[], Iterable[NewImage]]
    count: int | None
    """None: not known before the end."""

    def __iter__(self) -> Iterator[NewImage]:
        return iter(self.each())


def find_images(images: Any, *, column: str | None = None, root: Path | None = None) -> NewImages:
    """Return the images that `images` stands for.

    Args:
        images: a folder; an image file; a text file (.txt) with a path in each line; a Parquet file with a column of
            paths; paths one by one; or a uint8 array of images, n×y×x, n×y×x×c or n×c×y×x with c 1 or 3.
        column: that of the paths, in a Parquet file.
        root: what relative paths of a list are below; null: the working folder.

    Raises:
        UserError: it is none of that, there is nothing there, or it cannot be read.
    """
    if isinstance(images, np.ndarray):
        pixels = channels_last(images, "the array")
        return NewImages(lambda: (NewImage(str(i), image) for i, image in enumerate(pixels)), len(pixels))
    if isinstance(images, str | os.PathLike):
        return _at(Path(os.fsdecode(images)).expanduser(), column, root or Path())
    if not isinstance(images, Iterable):
        raise UserError(f"images are a folder, a file, paths or a uint8 array, not {type(images).__name__}")
    count = len(images) if isinstance(images, Sequence) else None
    return NewImages(lambda: (_listed(os.fsdecode(path), root or Path()) for path in images), count)


def _at(path: Path, column: str | None, root: Path) -> NewImages:
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UserError(f"{path} cannot be read ({reason}): give a folder, an image file or a list of files") from error
    if is_folder:
        return _folder(path)
    if path.suffix.lower() == ".txt":
        return _text(path, root)
    if path.suffix.lower() == ".parquet":
        return _parquet(path, column, root)
    return NewImages(lambda: [NewImage(path.name, path)], 1)


def _folder(root: Path) -> NewImages:
    tree = read_tree(root)
    if not tree.ids and not tree.skipped:
        raise UserError(f"{root} holds no image files ({' '.join(SUFFIXES)}): give a folder that does")
    ids, skipped = tree.ids, tree.skipped

    def each() -> Iterator[NewImage]:
        yield from (NewImage(name, root / name) for name in ids)
        yield from (NewImage(name, UnreadableImageError(reason)) for name, reason in skipped)

    return NewImages(each, len(ids) + len(skipped))


def _text(path: Path, root: Path) -> NewImages:
    """A line may hold any name that a file may have, but for a line break."""

    def lines() -> Iterator[str]:
        # What is not UTF-8 comes back as the bytes that it was when the file is opened.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
            yield from filter(None, (line.rstrip("\r\n") for line in file))

    try:
        count = sum(1 for _ in lines())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    if not count:
        raise UserError(f"{path} is empty: write the path of an image in each line")
    return NewImages(lambda: (_listed(line, root) for line in lines()), count)


def _parquet(path: Path, column: str | None, root: Path) -> NewImages:
    try:
        file = pq.ParquetFile(path)
        schema, count = file.schema_arrow, file.metadata.num_rows
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is no Parquet file, or is damaged: {' '.join(str(error).split())}") from error
    chosen = column or next((name for name in COLUMNS if name in schema.names), None)
    if chosen is None or chosen not in schema.names:
        missing = f"no column {column}" if column else f"neither a column {' nor '.join(COLUMNS)}"
        raise UserError(f"{path} has {missing}, but {', '.join(schema.names)}: choose the one of the paths, --column")
    kind = schema.field(chosen).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise UserError(f"{path}: the column {chosen} holds {kind}, not text: choose the one of the paths, --column")
    undo = original_text if chosen == "id" else str

    def each() -> Iterator[NewImage]:
        row = 0
        for batch in file.iter_batches(ROWS, columns=[chosen]):
            for text in batch.column(0).to_pylist():
                row += 1
                lacking = NewImage(f"row {row}", UnreadableImageError("no path"))
                yield _listed(undo(text), root) if text else lacking

    return NewImages(each, count)


def _listed(text: str, root: Path) -> NewImage:
    return NewImage(text, root / text)
