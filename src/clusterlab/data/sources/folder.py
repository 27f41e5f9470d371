"""Any tree of image files, labelled by class folder or not at all."""

import logging
from pathlib import Path

from clusterlab.data.images import ImageSet
from clusterlab.data.loading import existing_root, load_images
from clusterlab.data.sources.base import Source, SourceSettings
from clusterlab.data.tree import tree_originals
from clusterlab.errors import UserError

_log = logging.getLogger(__name__)


class Folder(Source):
    """Every image file below `data.root`, in the order of the paths.

    Labels are there if every image lies in ROOT/CLASS/ or in ROOT/{train,test}/CLASS/, with two classes or
    more. Top folders train/, test/ and unlabeled/ are the splits, if every image lies in one of them.
    """

    Settings = SourceSettings

    def load(self, store_dir: Path) -> ImageSet:
        """Decode the files, or take from the store what an earlier run decoded."""
        root = existing_root(self.settings, "a folder with image files in it")
        if not root.is_dir():
            raise UserError(
                f"data.root={root} is a file: data=folder reads a folder of image files; "
                "for an .npy or .npz file use data=arrays"
            )
        originals, layout = tree_originals(root, self.settings.image_size)
        if self.settings.labels == "auto":
            _log.info("%s: %d images, %s", root, len(originals.ids), layout.about)
        return load_images(originals, self.settings, store_dir)
