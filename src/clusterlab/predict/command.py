"""`python -m clusterlab predict RUN_DIR IMAGES`: labels new images with the clusters of a finished run."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from clusterlab.arguments import Parser
from clusterlab.errors import UserError
from clusterlab.output.columns import writing
from clusterlab.output.safe_text import safe_text
from clusterlab.predict.load import AUTO, load
from clusterlab.predict.model import Model, path_of
from clusterlab.predict.new_images import LISTS, NewImages, find_images
from clusterlab.predict.sorting import How, Sorter
from clusterlab.progress import track

SHOWN = 20
"""Unreadable files that are named at the end."""


def main(words: Sequence[str]) -> None:
    """Label the images and write the table.

    Raises:
        UserError: something that a person can put right; not one image can be read.
    """
    arguments = _parser().parse_args(words)
    output = _output(arguments)
    model = load(arguments.run_dir, device=arguments.device)
    images = find_images(arguments.images, column=arguments.column, root=arguments.root)
    sorter = _sorter(arguments, model)
    began = time.monotonic()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        labelled, unreadable = _label(model, images, output, sorter, arguments.batch_size)
    except OSError as error:
        raise UserError(f"cannot write {output} ({error.strerror or error}): choose another --output FILE") from error
    for line in unreadable.lines():
        print(line, file=sys.stderr)
    seconds = time.monotonic() - began
    print(f"{labelled} images labelled in {seconds:.1f} s: {output}{f' and {sorter.root}' if sorter else ''}")


def _label(
    model: Model, images: NewImages, output: Path, sorter: Sorter | None, batch_size: int | None
) -> tuple[int, "_Unreadable"]:
    labelled, unreadable = 0, _Unreadable()
    with writing(output) as add:
        for batch in model.label(track(images, "labelling", unit="image", total=images.count), batch_size=batch_size):
            add(batch.table)
            labelled += batch.table.num_rows
            unreadable.add(batch.unreadable)
            if sorter is not None:
                for image, cluster in zip(batch.images, batch.table.column("cluster").to_pylist(), strict=True):
                    sorter.add(path_of(image), cluster)
        if not labelled:
            first = f"; the first, {unreadable.first[0]}" if unreadable.first else ""
            raise UserError(f"none of the {unreadable.count} images can be read{first}")
    return labelled, unreadable


class _Unreadable:
    """How many files could not be read, and the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def add(self, found: Sequence[tuple[str, str]]) -> None:
        self.count += len(found)
        self.first += [f"{name}: {safe_text(reason)}" for name, reason in found[: SHOWN - len(self.first)]]

    def lines(self) -> list[str]:
        if not self.count:
            return []
        head = f"{self.count} {'files' if self.count > 1 else 'file'} left out:"
        more = [f"  and {self.count - len(self.first)} more"] * (self.count > len(self.first))
        return [head, *(f"  {line}" for line in self.first), *more]


def _output(arguments: argparse.Namespace) -> Path:
    """Return where the table goes: beside nothing of the run or of the images, if nobody says where."""
    images: Path = arguments.images
    name = Path(os.path.abspath(images)).name
    output: Path = arguments.output or Path(f"{name if images.is_dir() else Path(name).stem}-clusters.csv")
    if output.is_dir():
        raise UserError(f"--output={output} is a folder: give a file that ends in .csv or .parquet")
    if images.suffix.lower() in LISTS and output.exists() and images.exists() and output.samefile(images):
        raise UserError(f"--output={output} is the list of images itself: give another file")
    return output


def _sorter(arguments: argparse.Namespace, model: Model) -> Sorter | None:
    root: Path | None = arguments.copy_to or arguments.link_to
    if root is None:
        return None
    if arguments.images.is_dir() and root.resolve().is_relative_to(arguments.images.resolve()):
        raise UserError(f"{root} lies in {arguments.images}, whose images it would add to: choose a folder elsewhere")
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file: choose a folder")
    how: How = "copy" if arguments.copy_to else "link"
    return Sorter(root, how=how, num_clusters=model.num_clusters, names=model.names)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m clusterlab predict",
        description="Label new images with the clusters of a finished run. The columns are those of its assignments.",
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="the folder of the run, or a copy of its model/")
    parser.add_argument(
        "images",
        metavar="IMAGES",
        type=Path,
        help="a folder, an image, a .txt file with a path in each line, or a .parquet file with a column of paths",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="FILE.csv or FILE.parquet (IMAGES-clusters.csv)")
    sort = parser.add_mutually_exclusive_group()
    sort.add_argument("--copy-to", type=Path, metavar="DIR", help="also copy the files into a folder per cluster")
    sort.add_argument("--link-to", type=Path, metavar="DIR", help="the same with links to the files")
    parser.add_argument("--column", metavar="NAME", help="that holds the paths, in a .parquet file (path, or id)")
    parser.add_argument("--root", type=Path, metavar="DIR", help="what relative paths of a list are below (.)")
    parser.add_argument("--batch-size", type=_positive, metavar="N", help="images at once (as in the run)")
    parser.add_argument("--device", default=AUTO, metavar="NAME", help="cpu or cuda (auto: a GPU where there is one)")
    return parser


def _positive(word: str) -> int:
    if not word.isdecimal() or not int(word):
        raise argparse.ArgumentTypeError(f"{word} is not a whole number above 0")
    return int(word)
