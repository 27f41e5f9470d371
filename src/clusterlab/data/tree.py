"""A tree of image files: which there are, and what their folders say about splits and classes."""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from clusterlab.data.classes import from_names
from clusterlab.data.decode import decode_file
from clusterlab.data.images import Labels, Split
from clusterlab.data.originals import Originals, Stamp, stamp_of
from clusterlab.errors import UserError

LOG = "clusterlab.log"
OF_A_RUN = ("clusters.png", "wandb")
"""Where a run writes images, beside its log: they are not among those to cluster, so a run may lie in its own root."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


@dataclass(frozen=True)
class Layout:
    """What the paths of a tree say."""

    splits: tuple[Split, ...]
    """By the top folders, if every image lies in train/, test/ or unlabeled/; otherwise all 'train'."""
    labels: Labels | None
    """By the class folders, if every image outside unlabeled/ lies in one and there are two or more."""
    about: str
    """Which of these holds and why, for the log."""


@dataclass(frozen=True)
class Tree:
    """The image files below a folder, sorted by their path, and what looks like one and is none."""

    ids: tuple[str, ...]
    """Paths below the root with '/' between their parts."""
    stamps: tuple[Stamp, ...]
    skipped: tuple[tuple[str, str], ...]


def tree_originals(root: Path, size: int) -> tuple[Originals, Layout]:
    """Return the images below `root`, to be decoded to `size` pixels a side, and what their folders say.

    Raises:
        UserError: there is none.
    """
    tree = read_tree(root)
    if not tree.ids:
        found = "".join(f"; {name} is {reason}" for name, reason in tree.skipped[:1])
        raise UserError(
            f"{root} holds no image files ({' '.join(SUFFIXES)}){found}: set data.root to a folder that does"
        )
    layout = layout_of(tree.ids)
    originals = Originals(
        where=str(root),
        ids=tree.ids,
        splits=layout.splits,
        split_rule="splits are told apart if every image lies in train/, test/ or unlabeled/",
        stamps=tree.stamps,
        shape=(3, size, size),
        read=lambda i: decode_file(root / tree.ids[i], size),
        labels=layout.labels,
        skipped=tree.skipped,
    )
    return originals, layout


def read_tree(root: Path) -> Tree:
    """List the image files below `root`; hidden files and folders, and what a run wrote, are passed over.

    Links are followed, and no folder is read twice, so a loop of links ends.
    """
    files: dict[str, Stamp] = {}
    skipped: list[tuple[str, str]] = []
    seen: set[tuple[int, int]] = set()
    folders: list[tuple[Path, str]] = [(root, "")]
    links: list[tuple[Path, str]] = []
    while folders or links:
        # Links last: a folder that can also be reached through a link keeps its own path.
        folder, prefix = folders.pop() if folders else links.pop()
        try:
            about = folder.stat()
            if (about.st_dev, about.st_ino) in seen:
                continue
            seen.add((about.st_dev, about.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            skipped.append((prefix or ".", f"a folder that cannot be read ({error.strerror})"))
            continue
        written = OF_A_RUN if any(entry.name == LOG for entry in entries) else ()
        for entry in entries:
            if entry.name.startswith(".") or entry.name in written:
                continue
            is_image = entry.name.lower().endswith(SUFFIXES)
            if not is_image and not os.path.isdir(entry.path):  # False, not an error, for a link to itself
                continue
            printable = os.fsencode(entry.name).decode("utf-8", "backslashreplace")
            name = f"{prefix}{printable}"
            if printable != entry.name:
                skipped.append((name, "a name that is not valid UTF-8"))
            elif not is_image:
                (links if entry.is_symlink() else folders).append((Path(entry.path), f"{name}/"))
            elif (reason := _no_file(entry)) is not None:
                skipped.append((name, reason))
            else:
                files[name] = stamp_of(entry.stat(), name)
    ids = tuple(sorted(files))
    return Tree(ids=ids, stamps=tuple(files[name] for name in ids), skipped=tuple(sorted(skipped)))


def layout_of(ids: Sequence[str]) -> Layout:
    """Read splits and classes off the paths: CLASS/FILE, or train/CLASS/FILE, test/CLASS/FILE and unlabeled/….

    What lies in unlabeled/ has no class, whatever its folders are called.
    """
    parts = [name.split("/") for name in ids]
    tops = [p[0] if len(p) > 1 else "" for p in parts]
    # unlabeled/ alone is a folder like any other.
    has_splits = set(tops) <= set(get_args(Split)) and set(tops) != {"unlabeled"}
    splits = cast(tuple[Split, ...], tuple(tops) if has_splits else ("train",) * len(ids))
    below = [p[1:] if has_splits else p for p in parts]
    classes = [p[0] if len(p) == 2 else "" for p in below]
    labelled = [split != "unlabeled" for split in splits]
    stray = next((name for name, c, known in zip(ids, classes, labelled, strict=True) if known and not c), None)
    if stray is not None:
        return Layout(splits, None, f"no labels, for {stray} does not lie in CLASS/ or in train/CLASS/ or test/CLASS/")
    labels = from_names([c if known else None for c, known in zip(classes, labelled, strict=True)])
    if len(labels.names) < 2:
        return Layout(splits, None, f"no labels, for there is only one class folder, {labels.names[0]}")
    return Layout(splits, labels, f"labels of {len(labels.names)} class folders, for scoring only")


def _no_file(entry: os.DirEntry[str]) -> str | None:
    """Return what `entry`, named like an image, is if it is no file that could be one."""
    try:
        mode = entry.stat().st_mode
    except OSError:
        return "a link to nothing"
    if stat.S_ISDIR(mode):
        return "a folder"
    return None if stat.S_ISREG(mode) else "no regular file"
