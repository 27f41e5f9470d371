"""Labels image files into a table, and sorts them into folders: the work of the command `predict`."""

import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from clusterlab.errors import UserError
from clusterlab.output.columns import writing
from clusterlab.output.safe_text import safe_text
from clusterlab.predict.load import load
from clusterlab.predict.model import Model, path_of
from clusterlab.predict.new_images import LISTS, NewImages, find_images
from clusterlab.predict.sorting import Sorter
from clusterlab.progress import Progress

SHOWN = 20
"""Unreadable files that are named at the end."""


def label_files(
    *,
    run_dir: Path,
    images: Path,
    output: Path | None,
    copy_to: Path | None,
    link_to: Path | None,
    column: str | None,
    root: Path | None,
    batch_size: int | None,
    device: str,
) -> None:
    """Do what the command is asked for, and say what came of it; the arguments are its words.

    Raises:
        UserError: something that a person can put right; not one image can be read.
    """
    table = _table_file(output, images)
    model = load(run_dir, device=device)
    found = find_images(images, column=column, root=root)
    sorter = _sorter(model, images, copy_to, link_to)
    began = time.monotonic()
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
        labelled, unreadable = _label(model, found, table, sorter, batch_size)
    except OSError as error:
        raise UserError(f"cannot write {table} ({error.strerror or error}): choose another --output FILE") from error
    for line in unreadable.lines():
        print(line, file=sys.stderr)
    places = f"{table} and {sorter.root}" if sorter else str(table)
    print(f"{labelled} image{'s' * (labelled != 1)} labelled in {time.monotonic() - began:.1f} s: {places}")


def _label(
    model: Model, images: NewImages, output: Path, sorter: Sorter | None, batch_size: int | None
) -> tuple[int, "_Unreadable"]:
    labelled, unreadable = 0, _Unreadable()
    with (
        writing(output) as add,
        Progress("labelling", unit="image", total=images.count, say=partial(print, file=sys.stderr)) as progress,
    ):
        for batch in model.label(images, batch_size=batch_size):
            add(batch.table)
            labelled += batch.table.num_rows
            unreadable.add(batch.unreadable)
            if sorter is not None:
                for image, cluster in zip(batch.images, batch.table.column("cluster").to_pylist(), strict=True):
                    sorter.add(path_of(image), cluster)
            progress.add(len(batch.images) + len(batch.unreadable))
        if not labelled:
            raise UserError(unreadable.instead_of_labels())
    return labelled, unreadable


class _Unreadable:
    """How many files could not be read, and the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def add(self, found: Sequence[tuple[str, str]]) -> None:
        self.count += len(found)
        self.first += [f"{name}: {safe_text(reason)}" for name, reason in found[: SHOWN - len(self.first)]]

    def instead_of_labels(self) -> str:
        if not self.count:
            return "there are no images to label: the list is empty"
        if self.count == 1:
            return f"cannot read {self.first[0]}"
        return f"none of the {self.count} images can be read; the first, {self.first[0]}"

    def lines(self) -> list[str]:
        if not self.count:
            return []
        head = f"{self.count} {'files' if self.count > 1 else 'file'} left out:"
        more = [f"  and {self.count - len(self.first)} more"] * (self.count > len(self.first))
        return [head, *(f"  {line}" for line in self.first), *more]


def _table_file(output: Path | None, images: Path) -> Path:
    """Return where the table goes: into the working folder, if nobody says where."""
    name = Path(os.path.abspath(images)).name
    table = output or Path(f"{name if images.is_dir() else Path(name).stem}-clusters.csv")
    if table.is_dir():
        raise UserError(f"--output={table} is a folder: give a file that ends in .csv or .parquet")
    if images.suffix.lower() in LISTS and table.exists() and images.exists() and table.samefile(images):
        raise UserError(f"--output={table} is the list of images itself: give another file")
    return table


def _sorter(model: Model, images: Path, copy_to: Path | None, link_to: Path | None) -> Sorter | None:
    root = copy_to or link_to
    if root is None:
        return None
    if images.is_dir() and root.resolve().is_relative_to(images.resolve()):
        raise UserError(f"{root} lies in {images}, whose images it would add to: choose a folder elsewhere")
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file: choose a folder")
    return Sorter(root, how="copy" if copy_to else "link", num_clusters=model.num_clusters, names=model.names)
