"""ImageNet-1k (ILSVRC 2012, https://image-net.org) and subsets of its classes, from a folder of images for each class.

A class is a WordNet id (wnid), such as n02085936, and so is the name of its folder. The official training images are
the split 'train', the official validation images the split 'test'. What torchvision's `ImageNet` extracts is read as it
is; where only the official archives are there, its functions check and extract them. Images are stored as squares from
their centre, the short side resized; SCAN's authors take random crops from the whole resized image.
"""

import logging
import os
import re
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from filelock import FileLock
from pydantic import Field
from torchvision.datasets.imagenet import ARCHIVE_META, parse_devkit_archive, parse_train_archive, parse_val_archive

from clusterlab.data.decode import decode_file
from clusterlab.data.images import ImageSet, Labels, Protocol
from clusterlab.data.loading import existing_root, load_images
from clusterlab.data.originals import Originals, Stamp
from clusterlab.data.sources.base import Source, SourceSettings
from clusterlab.data.tree import Tree, read_tree
from clusterlab.errors import UserError

_log = logging.getLogger(__name__)

LISTS = Path(__file__).parent / "imagenet_lists"
WNID = re.compile(r"n\d{8}")

Part = Literal["train", "test"]
Parts = Annotated[tuple[Part, ...], Field(min_length=1)]

FOLDERS: dict[Part, tuple[str, ...]] = {
    "train": ("ILSVRC2012_img_train", "train"),
    "test": ("ILSVRC2012_img_val", "val", "test"),
}
"""What the folder of a part may be called."""
ARCHIVES: dict[Part, tuple[str, ...]] = {
    "train": (ARCHIVE_META["train"][0],),
    "test": (ARCHIVE_META["val"][0], ARCHIVE_META["devkit"][0]),
}
"""The official archives that a part needs: those of the validation images do not tell the classes, the devkit does."""
HOLDS = (
    "a folder with ILSVRC2012_img_train/WNID/*.JPEG or train/WNID/*.JPEG, and ILSVRC2012_img_val/, val/ or test/ "
    "likewise, or with the official archives"
)


class ImageNetSettings(SourceSettings):
    """Adds which images: of which official parts, and of which classes."""

    splits: Parts
    """The parts that are read; the official validation images are 'test'."""
    class_list: str | None
    """A text file with a wnid per line, and perhaps a name after it. Null: the list of this dataset."""


class ImageNet(Source):
    """The images of the listed classes, class by class; labels are the class folders."""

    Settings = ImageNetSettings
    settings: ImageNetSettings
    listed: ClassVar[str | None] = None
    """The packaged list of the classes; None: every class folder there is."""

    def load(self, store_dir: Path) -> ImageSet:
        """List the class folders and decode their images, or take those from the store."""
        settings = self.settings
        root = existing_root(settings, HOLDS)
        if not root.is_dir():
            raise UserError(f"data.root={root} is a file: data={settings.name} needs {HOLDS}")
        check_parts(settings.protocol, settings.splits)
        folders = {part: part_folder(root, part) for part in FOLDERS if part in settings.splits}
        classes = self._classes(next(iter(folders.values())))
        listing = Listing(root)
        for part, folder in folders.items():
            _check_class_folders(folder, tuple(classes), settings.name)
            for number, wnid in enumerate(classes):
                listing.add(f"{folder.name}/{wnid}", part, number)
        originals = listing.originals(settings.image_size, tuple(classes.values()), settings.splits)
        _log.info("%s: %d images of %d classes", root, len(originals.ids), len(classes))
        return load_images(originals, settings, store_dir)

    def _classes(self, folder: Path) -> dict[str, str]:
        """Return wnid → name of the classes wanted.

        Raises:
            UserError: they are not as many as `data.num_classes` says.
        """
        settings = self.settings
        if settings.class_list is not None:
            where = f"data.class_list={settings.class_list}"
            classes = read_class_list(Path(settings.class_list).expanduser())
        elif self.listed is not None:
            where = self.listed
            classes = read_class_list(LISTS / self.listed)
        else:
            where = str(folder)
            classes = {name: name for name in sorted(_class_folders(folder))}
        if settings.num_classes not in (None, len(classes)):
            raise UserError(
                f"{where} has {len(classes)} classes, and data.num_classes={settings.num_classes}: complete the "
                f"classes, or set data.num_classes={len(classes)}"
            )
        return classes


class Listing:
    """Images found so far below a root, class by class, none of them opened."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ids: list[str] = []
        self.stamps: list[Stamp] = []
        self.splits: list[Part] = []
        self.classes: list[int] = []
        self.skipped: list[tuple[str, str]] = []

    def add(self, folder: str, split: Part, number: int) -> None:
        """Add the images in `folder`, a path below the root, which are all of class `number`.

        Raises:
            UserError: there is none.
        """
        tree = read_tree(self.root / folder)
        if not tree.ids:
            raise UserError(f"{self.root / folder} has no image files: bring them back, or extract the archive again")
        self.add_tree(tree, folder, split, [number] * len(tree.ids))

    def add_tree(self, tree: Tree, folder: str, split: Part, classes: Sequence[int]) -> None:
        """Add the images of `tree`, which is what `folder` holds, with a class for each."""
        self.ids += [f"{folder}/{name}" for name in tree.ids]
        self.stamps += tree.stamps
        self.splits += [split] * len(tree.ids)
        self.classes += classes
        self.skipped += [(f"{folder}/{name}", reason) for name, reason in tree.skipped]

    def originals(self, size: int, names: tuple[str, ...], parts: Parts) -> Originals:
        """Return the images, to be decoded to `size` pixels a side; class c has the name `names[c]`."""
        root, ids = self.root, tuple(self.ids)
        return Originals(
            where=str(root),
            ids=ids,
            splits=tuple(self.splits),
            split_rule=f"data.splits=[{','.join(parts)}]",
            stamps=tuple(self.stamps),
            shape=(3, size, size),
            read=lambda i: decode_file(root / ids[i], size),
            labels=Labels(values=np.array(self.classes, dtype=np.int64), names=names),
            skipped=tuple(self.skipped),
        )


def check_parts(protocol: Protocol, parts: Parts) -> None:
    """See that protocol 'split' has both parts.

    Raises:
        UserError: it has not.
    """
    if protocol == "split" and {*parts} != {"train", "test"}:
        raise UserError(
            f"data.protocol=split trains on train and scores on test, and data.splits=[{','.join(parts)}]: "
            "add 'data.splits=[train,test]'"
        )


def read_class_list(path: Path) -> dict[str, str]:
    """Return wnid → name, in the order of the wnids; a class without a name has its wnid for one.

    Raises:
        UserError: the file cannot be read, or a line is not a wnid, or one stands twice, or there is none.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the class list {path} cannot be read as text ({error})") from error
    classes: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        wnid, *name = line.split(maxsplit=1)[:2] or ["#"]
        if wnid.startswith("#"):
            continue
        if not WNID.fullmatch(wnid) or wnid in classes:
            problem = "is there twice" if wnid in classes else "is not a wnid such as n02085936"
            raise UserError(f"line {number} of the class list {path}: {wnid} {problem}; write each wnid on one line")
        classes[wnid] = name[0].strip() if name else wnid
    if not classes:
        raise UserError(f"the class list {path} names no class: write a wnid such as n02085936 on each line")
    return dict(sorted(classes.items()))


def part_folder(root: Path, part: Part) -> Path:
    """Return the folder of class folders of a part, extracted if only its archives are there.

    Raises:
        UserError: there is neither, or the images do not lie in class folders.
    """
    archives = ARCHIVES[part]
    found = [root / name for name in FOLDERS[part] if (root / name).is_dir()]
    folder = next(iter(found), None)
    if folder is None and all((root / name).is_file() for name in archives):
        folder = root / FOLDERS[part][1]
        _extract(root, folder, part)
    if folder is None:
        rest = "train" if part == "test" else "test"
        raise UserError(
            f"data.root={root} has no {'/ or '.join(FOLDERS[part])}/ with a folder for each class, nor "
            f"{' and '.join(archives)}: put one of them there, or do without with 'data.splits=[{rest}]' "
            "data.protocol=all"
        )
    if not _class_folders(folder):
        raise UserError(
            f"{folder} has no class folders such as n02085936/: sort its images into them, or delete it and "
            f"put {' and '.join(archives)} into {root}, which are then extracted so"
        )
    return folder


def _class_folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if WNID.fullmatch(entry.name) and entry.is_dir()]


def _check_class_folders(folder: Path, wnids: Sequence[str], name: str) -> None:
    missing = sorted({*wnids} - {*_class_folders(folder)})
    if missing:
        raise UserError(
            f"{folder} lacks {len(missing)} of the {len(wnids)} classes of data={name}, such as {missing[0]}: add "
            "their folders, or list the classes that are there in data.class_list=FILE"
        )


def _extract(root: Path, folder: Path, part: Part) -> None:
    """Extract a part beside its final place and move it there, so that a killed job leaves no half of it."""
    archives = " and ".join(ARCHIVES[part])
    try:
        with (
            FileLock(root / ".imagenet.lock"),
            tempfile.TemporaryDirectory(dir=root, prefix=".extracting-") as temporary,
        ):
            if folder.is_dir():  # by the job that this one waited for
                return
            _log.info("%s: checking and extracting %s", root, archives)
            inside = Path(temporary) / folder.name
            if part == "train":
                parse_train_archive(root, folder=str(inside))
            else:
                parse_devkit_archive(root)
                parse_val_archive(root, folder=str(inside))
            inside.rename(folder)
    except (OSError, RuntimeError, tarfile.TarError) as error:
        raise UserError(
            f"could not extract {archives} in {root} ({' '.join(str(error).split())}): put whole ones there, or "
            f"extract them yourself into {folder.name}/WNID/"
        ) from error
