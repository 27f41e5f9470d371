"""Datasets with official files, whose address and checksums are known. Class folders may serve in their place."""

import logging
import shutil
import socket
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar

from filelock import FileLock
from torchvision.datasets import VisionDataset
from torchvision.datasets.utils import check_integrity, download_and_extract_archive

from clusterlab.data.images import ImageSet
from clusterlab.data.loading import existing_root, load_images
from clusterlab.data.originals import Originals
from clusterlab.data.sources.base import Source, SourceSettings
from clusterlab.data.tree import tree_originals
from clusterlab.errors import UserError

_log = logging.getLogger(__name__)

NETWORK_TIMEOUT = 30.0
"""Seconds without an answer after which the download is given up; torchvision alone would wait for ever."""

Published = type[VisionDataset]
"""torchvision's class of a dataset: its `base_folder`, `filename`, `url` and `tgz_md5`, and the md5 of every file."""


class OfficialSettings(SourceSettings):
    """Adds whether the network may be used."""

    throughput: ClassVar[frozenset[str]] = SourceSettings.throughput | {"download"}

    download: bool
    """Fetch the official archive into `root` if nothing is there."""


class OfficialSource(Source):
    """The official files of a dataset, or class folders: what the root has."""

    Settings: ClassVar[type[OfficialSettings]] = OfficialSettings
    settings: OfficialSettings
    published: ClassVar[Published]
    class_folders: ClassVar[str | None] = "train/CLASS/*.jpg and test/CLASS/*.jpg"
    """The layout that is read in place of the official files, for messages; None: only those are."""

    @abstractmethod
    def official(self, folder: Path) -> Originals:
        """Return the images of the official files in `folder`.

        Raises:
            UserError: they are not those that were published.
        """

    def load(self, store_dir: Path) -> ImageSet:
        """Read the official files or the class folders, or take what an earlier run left in the store."""
        root = self._root()
        # The folder itself may be the root, under any name.
        inside = (root / self.published.train_list[0][0]).is_file()
        folder = root if inside else root / self.published.base_folder
        in_class_folders = (root / "train").is_dir() and (root / "test").is_dir()
        if self.class_folders is not None and in_class_folders and not folder.is_dir():
            originals, layout = tree_originals(root, self.settings.image_size)
            _log.info("%s: class folders, %d images, %s", root, len(originals.ids), layout.about)
        else:
            if not folder.is_dir():
                self._provide(root)
            originals = self.official(folder)
            _log.info("%s: official files, %d images", folder, len(originals.ids))
        return load_images(originals, self.settings, store_dir)

    @property
    def _holds(self) -> str:
        files = f"{self.published.base_folder}/ or {self.published.filename} (the official files)"
        others = "" if self.class_folders is None else f" or with {self.class_folders}"
        return f"a folder with {files}{others}; data.download=true fetches the official files"

    def _root(self) -> Path:
        if self.settings.download and self.settings.root is not None:
            try:
                Path(self.settings.root).expanduser().mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"data.root={self.settings.root} cannot be made a folder: {error}") from error
        return existing_root(self.settings, self._holds)

    def _provide(self, root: Path) -> None:
        archive, name = root / self.published.filename, self.settings.name
        if not self.settings.download:
            if not archive.is_file():
                raise UserError(
                    f"data.root={root} has none of what data={name} looks for: set data.root=PATH to {self._holds}"
                )
            if not check_integrity(archive, self.published.tgz_md5):
                raise UserError(
                    f"{archive} is damaged, for its md5 differs: with data.download=true it is fetched again"
                )
        fetch_and_extract(self.published, root, FileLock(root / f".{name}.lock"))


def check_files(folder: Path, published: Published, md5s: Mapping[str, str | None]) -> None:
    """See that each file that `md5s` names is in `folder` as it was published, or with None, that it is there at all.

    Raises:
        UserError: one is missing or differs.
    """
    if not all(check_integrity(folder / name, md5) for name, md5 in md5s.items()):
        raise UserError(
            f"{folder} is not whole, for torchvision's checksums differ: delete it, and it is extracted "
            f"again from {published.filename} beside it, or fetched with data.download=true"
        )


def fetch_and_extract(published: Published, root: Path, lock: FileLock) -> None:
    """Extract the official archive in `root`, fetched first if it is not there.

    It is extracted beside its final place and then moved there, so that a killed job leaves no half of it.

    Raises:
        UserError: there is no network, a transfer breaks, or nothing can be written.
    """
    try:
        with lock, tempfile.TemporaryDirectory(dir=root, prefix=".extracting-") as temporary:
            if (root / published.base_folder).is_dir():  # by the job that this one waited for
                return
            _log.info("%s: extracting %s", root, published.filename)
            with _impatient_network():
                download_and_extract_archive(
                    published.url, root, temporary, filename=published.filename, md5=published.tgz_md5
                )
            shutil.move(Path(temporary) / published.base_folder, root / published.base_folder)
    except (OSError, RuntimeError, HTTPException) as error:
        raise UserError(
            f"could not fetch and extract {published.url} in {root} ({' '.join(str(error).split())}); "
            f"without a network, put {published.filename} there yourself"
        ) from error


@contextmanager
def _impatient_network() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
