"""STL-10: photos of 96×96 pixels, 13,000 in ten classes and 100,000 of these and other kinds without a label.

https://cs.stanford.edu/~acoates/stl10/. The third part is the split 'unlabeled': features are trained on it, as by the
authors of SCAN; nothing else is, and it is not scored.
"""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from torchvision.datasets import STL10

from clusterlab.data.decode import square_array
from clusterlab.data.images import Labels
from clusterlab.data.official import OfficialSource, check_files
from clusterlab.data.originals import Originals, split_sizes, stamp_of

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
"""In the order of the official file class_names.txt."""
SHAPE = (3, 96, 96)
NUM_BYTES = 3 * 96 * 96


class Stl10(OfficialSource):
    """5,000 training, 8,000 test and 100,000 unlabelled images, in the order of the official files or of the paths."""

    published = STL10
    class_folders = "train/CLASS/*.jpg, test/CLASS/*.jpg and, if wanted, unlabeled/*.jpg"

    def official(self, folder: Path) -> Originals:
        """Read the labels; images are read one by one, and only while the store is made."""
        train, test = self.published.train_list, self.published.test_list
        pixel_files = [name for name, _ in (train[0], test[0], train[2])]
        check_files(folder, STL10, dict([train[1], test[1]]) | dict.fromkeys(pixel_files))
        labels = [np.fromfile(folder / name, dtype=np.uint8).astype(np.int64) - 1 for name, _ in (train[1], test[1])]
        counts = [*map(len, labels), (folder / pixel_files[2]).stat().st_size // NUM_BYTES]
        stamps = [stamp_of((folder / name).stat(), name) for name in pixel_files]
        where = [(part, row) for part, count in enumerate(counts) for row in range(count)]
        size = self.settings.image_size

        def read(i: int) -> UInt8[np.ndarray, "c y x"]:
            part, row = where[i]
            return square_array(_image(folder / pixel_files[part], row), size)

        return Originals(
            where=str(folder),
            ids=tuple(str(i) for i in range(len(where))),
            splits=split_sizes(train=counts[0], test=counts[1], unlabeled=counts[2]),
            split_rule="the official files",
            stamps=tuple(stamps[part] for part, _ in where),
            shape=(3, size, size),
            read=read,
            labels=Labels(values=np.concatenate([*labels, np.full(counts[2], -1)]), names=CLASSES),
            # 3 GB: too long to read in every run.
            check=lambda: check_files(folder, STL10, dict(train + test)),
        )


def _image(path: Path, row: int) -> UInt8[np.ndarray, "y x c"]:
    """Return one image of a file; there an image is c×x×y, column by column as in Matlab."""
    flat = np.fromfile(path, dtype=np.uint8, count=NUM_BYTES, offset=row * NUM_BYTES)
    return flat.reshape(SHAPE).transpose(2, 1, 0)
