"""`python -m clusterlab predict RUN_DIR IMAGES`: labels new images with the clusters of a finished run."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from clusterlab.arguments import Parser
from clusterlab.predict import AUTO


def main(words: Sequence[str]) -> None:
    """Label the images and write the table.

    Raises:
        UserError: something that a person can put right; not one image can be read.
    """
    arguments = _parser().parse_args(words)
    from clusterlab.predict.files import label_files  # with it comes torch, which --help can do without

    label_files(**vars(arguments))


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
