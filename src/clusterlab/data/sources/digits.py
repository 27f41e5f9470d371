"""The 1,797 handwritten digits inside scikit-learn: 8×8 scans with 17 shades, enlarged; no download.

The test part of E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits,
https://doi.org/10.24432/C50P49.
"""

import hashlib
from pathlib import Path

import numpy as np

from clusterlab.data.classes import from_numbers
from clusterlab.data.decode import square_array
from clusterlab.data.images import ImageSet
from clusterlab.data.loading import load_images
from clusterlab.data.originals import Originals, split_sizes
from clusterlab.data.sources.base import Source, SourceSettings

DARKEST = 16


class Digits(Source):
    """Real scans of ten classes, grey, ink light on dark."""

    Settings = SourceSettings

    def load(self, store_dir: Path) -> ImageSet:
        """Enlarge the scans, or take the enlarged ones from the store."""
        from sklearn.datasets import load_digits

        bundle = load_digits()
        scans = np.rint(bundle.images * (255 / DARKEST)).astype(np.uint8)[..., None]
        size = self.settings.image_size
        stamp = ("digits", hashlib.sha256(scans.data).hexdigest())
        originals = Originals(
            where="digits",
            ids=tuple(str(i) for i in range(len(scans))),
            splits=split_sizes(train=len(scans)),
            split_rule="scikit-learn has them as one set",
            stamps=(stamp,) * len(scans),
            shape=(1, size, size),
            read=lambda i: square_array(scans[i], size),
            labels=from_numbers(bundle.target),
        )
        return load_images(originals, self.settings, store_dir)
