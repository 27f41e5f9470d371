"""CIFAR-10: 60,000 images of 32×32 pixels in ten classes, https://www.cs.toronto.edu/~kriz/cifar.html.

Read from the official files, which torchvision checks, extracts and fetches, or from class folders.
"""

import logging
import shutil
import socket
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar

import numpy as np
from filelock import FileLock
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity, download_and_extract_archive

from clusterlab.data.decode import square_array
from clusterlab.data.images import ImageSet, Labels
from clusterlab.data.loading import existing_root, load_images
from clusterlab.data.originals import Originals, split_sizes, stamp_of
from clusterlab.data.sources.base import Source, SourceSettings
from clusterlab.data.tree import tree_originals
from clusterlab.errors import UserError

_log = logging.getLogger(__name__)

HOLDS = (
    f"a folder with {CIFAR10.base_folder}/ or {CIFAR10.filename} (the official files) or with "
    "train/CLASS/*.jpg and test/CLASS/*.jpg; data.download=true fetches the official files into it"
)
NETWORK_TIMEOUT = 30.0
"""Seconds without an answer after which the download is given up; torchvision alone would wait for ever."""


class Cifar10Settings(SourceSettings):
    """Adds whether the network may be used."""

    throughput: ClassVar[frozenset[str]] = SourceSettings.throughput | {"download"}

    download: bool
    """Fetch the official archive (170 MB) into `root` if nothing is there."""


class Cifar10(Source):
    """50,000 training and 10,000 test images, in the order of the official files or of the paths."""

    Settings = Cifar10Settings
    settings: Cifar10Settings

    def load(self, store_dir: Path) -> ImageSet:
        """Read the official files or the class folders, or take what an earlier run left in the store."""
        root = self._root()
        batches = root if (root / "data_batch_1").is_file() else root / CIFAR10.base_folder
        if not batches.is_dir() and (root / "train").is_dir() and (root / "test").is_dir():
            originals, layout = tree_originals(root, self.settings.image_size)
            _log.info("%s: class folders, %d images, %s", root, len(originals.ids), layout.about)
        else:
            if not batches.is_dir():
                _provide(root, download=self.settings.download)
            originals = _official(batches, self.settings.image_size)
            _log.info("%s: official files, %d images", batches, len(originals.ids))
        return load_images(originals, self.settings, store_dir)

    def _root(self) -> Path:
        if self.settings.download and self.settings.root is not None:
            try:
                Path(self.settings.root).expanduser().mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"data.root={self.settings.root} cannot be made a folder: {error}") from error
        return existing_root(self.settings, HOLDS)


class _Batches(CIFAR10):
    """torchvision's reader, for a folder of batches that may have another name."""

    def __init__(self, folder: Path, *, train: bool) -> None:
        self.base_folder = folder.name
        super().__init__(folder.parent, train=train)


def _official(folder: Path, size: int) -> Originals:
    with warnings.catch_warnings():
        # NumPy 2.4.0 to 2.4.4 warn of how the NumPy of 2009 described a dtype in these files (numpy#31177).
        warnings.filterwarnings("ignore", message=r".*align should be passed as Python or NumPy boolean")
        try:
            parts = [_Batches(folder, train=True), _Batches(folder, train=False)]
        except RuntimeError as error:
            raise UserError(
                f"{folder} is not whole, for torchvision's checksums differ: delete it, and it is extracted "
                f"again from {CIFAR10.filename} beside it, or fetched with data.download=true"
            ) from error
    pixels = np.concatenate([part.data for part in parts])
    stamp = tuple(
        value for name, _ in CIFAR10.train_list + CIFAR10.test_list for value in stamp_of((folder / name).stat(), name)
    )
    return Originals(
        where=str(folder),
        ids=tuple(str(i) for i in range(len(pixels))),
        splits=split_sizes(train=len(parts[0]), test=len(parts[1])),
        split_rule="the official batches",
        stamps=(stamp,) * len(pixels),
        shape=(3, size, size),
        read=lambda i: square_array(pixels[i], size),
        labels=Labels(
            values=np.array(parts[0].targets + parts[1].targets, dtype=np.int64),
            names=tuple(parts[0].classes),
        ),
    )


def _provide(root: Path, *, download: bool) -> None:
    """Extract the official archive in `root`, fetched first if it is not there and `download`.

    It is extracted beside its final place and then moved there, so that a killed job leaves no half of it.
    """
    archive = root / CIFAR10.filename
    if not download and not archive.is_file():
        raise UserError(f"data.root={root} has none of what data=cifar10 looks for: set data.root=PATH to {HOLDS}")
    if not download and not check_integrity(archive, CIFAR10.tgz_md5):
        raise UserError(f"{archive} is damaged, for its md5 differs: with data.download=true it is fetched again")
    try:
        with (
            FileLock(root / ".cifar10.lock"),
            tempfile.TemporaryDirectory(dir=root, prefix=".cifar10-") as temporary,
        ):
            if (root / CIFAR10.base_folder).is_dir():  # by the job that this one waited for
                return
            _log.info("%s: extracting %s", root, archive.name)
            with _impatient_network():
                download_and_extract_archive(
                    CIFAR10.url, root, temporary, filename=CIFAR10.filename, md5=CIFAR10.tgz_md5
                )
            shutil.move(Path(temporary) / CIFAR10.base_folder, root / CIFAR10.base_folder)
    except (
        OSError,
        RuntimeError,
        HTTPException,
    ) as error:  # no network, a broken transfer, no right to write
        raise UserError(
            f"could not fetch and extract {CIFAR10.url} in {root} ({' '.join(str(error).split())}); "
            f"without a network, put {CIFAR10.filename} there yourself"
        ) from error


@contextmanager
def _impatient_network() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
