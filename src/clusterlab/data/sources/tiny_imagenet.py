"""Tiny ImageNet: 200 classes of ImageNet as 64×64 pixels, http://cs231n.stanford.edu/tiny-imagenet-200.zip."""

from pathlib import Path

from torchvision.datasets import VisionDataset

from clusterlab.data.imagenet import Listing, Parts, check_parts, read_class_list
from clusterlab.data.images import ImageSet
from clusterlab.data.official import OfficialSettings, OfficialSource
from clusterlab.data.originals import Originals
from clusterlab.data.tree import read_tree
from clusterlab.errors import UserError

ANNOTATIONS = "val_annotations.txt"


class TinyImageNetArchive(VisionDataset):
    """What torchvision's classes say of the datasets that it has."""

    base_folder = "tiny-imagenet-200"
    filename = "tiny-imagenet-200.zip"
    url = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
    tgz_md5 = "90528d7ca1a48142e341f4ef8d21d0de"
    train_list = (("wnids.txt", None),)


class TinyImageNetSettings(OfficialSettings):
    """Adds which of the official parts are read."""

    splits: Parts
    """The official validation images are 'test'; the official test images have no labels and are never read."""


class TinyImageNet(OfficialSource):
    """100,000 training images and 10,000 validation images, which are the split 'test'."""

    Settings = TinyImageNetSettings
    settings: TinyImageNetSettings
    published = TinyImageNetArchive
    class_folders = None

    def load(self, store_dir: Path) -> ImageSet:
        """Read the official files, or take what an earlier run left in the store."""
        check_parts(self.settings.protocol, self.settings.splits)
        return super().load(store_dir)

    def official(self, folder: Path) -> Originals:
        """List the images."""
        classes = read_class_list(folder / "wnids.txt")
        listing = Listing(folder)
        if "train" in self.settings.splits:
            for number, wnid in enumerate(classes):
                listing.add(f"train/{wnid}/images", "train", number)
        if "test" in self.settings.splits:
            _add_validation(listing, list(classes))
        return listing.originals(self.settings.image_size, tuple(classes.values()), self.settings.splits)


def _add_validation(listing: Listing, wnids: list[str]) -> None:
    """Add the validation images, which lie in one folder; a line of a file has the name and the class of each.

    Raises:
        UserError: there is none, or one has no class.
    """
    folder = listing.root / "val"
    tree = read_tree(folder / "images")
    try:
        lines = (folder / ANNOTATIONS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(_advice(listing.root, f"val/{ANNOTATIONS} cannot be read ({error})")) from error
    number = {wnid: c for c, wnid in enumerate(wnids)}
    fields = [line.split("\t") for line in lines]
    class_of = {words[0]: number[words[1]] for words in fields if len(words) > 1 and words[1] in number}
    unknown = next((name for name in tree.ids if name not in class_of), None)
    if unknown is not None or not tree.ids:
        problem = "val/images/ is empty" if unknown is None else f"val/{ANNOTATIONS} has no class for {unknown}"
        raise UserError(_advice(listing.root, problem))
    listing.add_tree(tree, "val/images", "test", [class_of[name] for name in tree.ids])


def _advice(root: Path, problem: str) -> str:
    return (
        f"{root} is not whole, for {problem}: extract {TinyImageNetArchive.filename} again, or do without these "
        "images with 'data.splits=[train]' data.protocol=all"
    )
