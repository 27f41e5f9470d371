"""The official files of CIFAR-10 and CIFAR-100: pickled batches of 32×32 pixels, https://www.cs.toronto.edu/~kriz/cifar.html."""

import pickle
import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from clusterlab.data.decode import square_array
from clusterlab.data.images import Labels
from clusterlab.data.official import OfficialSource, check_files
from clusterlab.data.originals import Originals, split_sizes, stamp_of


class Cifar(OfficialSource):
    """50,000 training and 10,000 test images, in the order of the official files or of the paths."""

    labels_entry: ClassVar[str]
    """What a batch calls its labels."""
    names_entry: ClassVar[str]
    """What the file `meta` of the dataset calls the names of the classes."""

    def official(self, folder: Path) -> Originals:
        """Read all batches."""
        train, test, meta = self.published.train_list, self.published.test_list, self.published.meta
        # Before any of it is unpickled, which runs code.
        check_files(folder, self.published, dict([*train, *test, (meta["filename"], meta["md5"])]))
        batches = [_unpickled(folder / name) for name, _ in (*train, *test)]
        pixels = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        values = np.concatenate([np.array(batch[self.labels_entry], dtype=np.int64) for batch in batches])
        num_train = sum(len(batch["data"]) for batch in batches[: len(train)])
        stamp = tuple(value for name, _ in (*train, *test) for value in stamp_of((folder / name).stat(), name))
        size = self.settings.image_size
        return Originals(
            where=str(folder),
            ids=tuple(str(i) for i in range(len(pixels))),
            splits=split_sizes(train=num_train, test=len(pixels) - num_train),
            split_rule="the official batches",
            stamps=(stamp,) * len(pixels),
            shape=(3, size, size),
            read=lambda i: square_array(pixels[i], size),
            labels=Labels(values=values, names=tuple(_unpickled(folder / meta["filename"])[self.names_entry])),
        )


def _unpickled(path: Path) -> dict[str, Any]:
    with warnings.catch_warnings(), path.open("rb") as file:
        # NumPy 2.4.0 to 2.4.4 warn of how the NumPy of 2009 described a dtype in these files (numpy#31177).
        warnings.filterwarnings("ignore", message=r".*align should be passed as Python or NumPy boolean")
        content: dict[str, Any] = pickle.load(file, encoding="latin1")  # Python 2 wrote it
        return content
