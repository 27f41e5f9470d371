import hashlib
import logging
import pickle
import shutil
import socket
import tarfile
import warnings
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from filelock import FileLock
from torchvision.datasets import CIFAR10

from clusterlab.data.official import fetch_and_extract
from clusterlab.errors import UserError

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PER_BATCH = 4


class OldArray:
    """Unpickles with the warning that NumPy 2.4.0 to 2.4.4 give for the official files."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __reduce__(self):
        return old_array, (self.values,)


def old_array(values: np.ndarray) -> np.ndarray:
    message = "dtype(): align should be passed as Python or NumPy boolean but got `align=0`. (Deprecated NumPy 2.4)"
    warnings.warn(message, np.exceptions.VisibleDeprecationWarning, stacklevel=2)
    return values


def batch_pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (PER_BATCH, 3, 32, 32), dtype=np.uint8)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def official(tmp_path: Path, monkeypatch) -> Path:
    """A root with six tiny batches in the official layout, and torchvision's checksums to match."""
    folder = tmp_path / "official" / CIFAR10.base_folder
    folder.mkdir(parents=True)
    names = [name for name, _ in CIFAR10.train_list + CIFAR10.test_list]
    for number, name in enumerate(names):
        labels = [(number + i) % 10 for i in range(PER_BATCH)]
        content = {"data": OldArray(batch_pixels(number).reshape(PER_BATCH, -1)), "labels": labels}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(NAMES)}, protocol=2))
    sums = [[name, md5(folder / name)] for name in names]
    monkeypatch.setattr(CIFAR10, "train_list", sums[:5])
    monkeypatch.setattr(CIFAR10, "test_list", sums[5:])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5(folder / "batches.meta")})
    return folder.parent


@pytest.fixture
def archive(official: Path, tmp_path: Path, monkeypatch) -> Path:
    """A root with nothing but the archive in it."""
    root = tmp_path / "packed"
    root.mkdir()
    with tarfile.open(root / CIFAR10.filename, "w:gz") as tar:
        tar.add(official / CIFAR10.base_folder, CIFAR10.base_folder)
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(root / CIFAR10.filename))
    return root


@pytest.fixture
def no_network(monkeypatch) -> list[float | None]:
    """Every request fails at once; gives the time limits that were in force."""
    limits: list[float | None] = []

    def fail(*_: object, **__: object) -> None:
        limits.append(socket.getdefaulttimeout())
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    return limits


def test_the_official_files_give_every_image_split_and_class_in_their_order(load, official: Path):
    images = load("cifar10", root=official)
    assert np.array_equal(images.pixels, np.concatenate([batch_pixels(number) for number in range(6)]))
    assert images.ids == tuple(str(i) for i in range(6 * PER_BATCH))
    assert images.splits == ("train",) * 5 * PER_BATCH + ("test",) * PER_BATCH
    assert images.protocol == "split"
    assert images.sealed_labels is not None
    assert images.sealed_labels.names == NAMES
    expected = [(number + i) % 10 for number in range(6) for i in range(PER_BATCH)]
    assert images.sealed_labels.values.tolist() == expected


def test_the_root_may_be_the_folder_of_the_batches_under_any_name(load, official: Path, monkeypatch):
    expected = load("cifar10", root=official).fingerprint
    folder = official / CIFAR10.base_folder
    assert load("cifar10", root=folder).fingerprint == expected
    monkeypatch.chdir(folder)
    assert load("cifar10", root=".").fingerprint == expected
    monkeypatch.undo()


def test_the_second_load_resizes_nothing(load, official: Path, monkeypatch):
    first = load("cifar10", root=official, image_size=16)
    assert first.pixels.shape == (24, 3, 16, 16)
    monkeypatch.setattr("clusterlab.data.cifar.square_array", None)
    assert np.array_equal(load("cifar10", root=official, image_size=16).pixels, first.pixels)


def test_a_batch_that_is_damaged_or_missing_is_refused(load, official: Path):
    batch = official / CIFAR10.base_folder / "data_batch_3"
    batch.write_bytes(batch.read_bytes() + b" ")
    with pytest.raises(UserError, match=r"cifar-10-batches-py is not whole.*data\.download=true"):
        load("cifar10", root=official)
    batch.unlink()
    with pytest.raises(UserError, match=r"is not whole"):
        load("cifar10", root=official)


def test_an_archive_in_the_root_is_extracted_without_a_network(load, official: Path, archive: Path, no_network):
    assert load("cifar10", root=archive).fingerprint == load("cifar10", root=official).fingerprint
    left = sorted(path.name for path in archive.iterdir() if not path.name.startswith("."))
    assert left == [CIFAR10.base_folder, CIFAR10.filename]
    assert no_network == []


def test_a_damaged_archive_is_refused(load, archive: Path):
    (archive / CIFAR10.filename).write_bytes(b"half of it")
    with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz is damaged.*data\.download=true"):
        load("cifar10", root=archive)


def test_an_archive_that_another_job_extracted_meanwhile_is_not_extracted_again(archive: Path, official: Path):
    shutil.copytree(official / CIFAR10.base_folder, archive / CIFAR10.base_folder)
    before = sorted((archive / CIFAR10.base_folder).rglob("*"))
    fetch_and_extract(CIFAR10, archive, FileLock(archive / ".lock"))
    assert sorted((archive / CIFAR10.base_folder).rglob("*")) == before


def test_download_fetches_the_archive_into_a_new_folder(load, archive: Path, tmp_path: Path, monkeypatch):
    def fetch(url: str, root: str, filename: str, md5: str) -> None:
        assert (url, md5) == (CIFAR10.url, CIFAR10.tgz_md5)
        shutil.copyfile(archive / CIFAR10.filename, Path(root) / filename)

    monkeypatch.setattr("torchvision.datasets.utils.download_url", fetch)
    images = load("cifar10", root=tmp_path / "new" / "folder", download=True)
    assert len(images) == 6 * PER_BATCH
    assert (tmp_path / "new" / "folder" / CIFAR10.base_folder).is_dir()


def test_without_a_network_download_fails_in_one_line_and_soon(load, tmp_path: Path, no_network):
    with pytest.raises(UserError, match=r"could not fetch .*name resolution.*put cifar-10-python\.tar\.gz") as error:
        load("cifar10", root=tmp_path / "new", download=True)
    assert "\n" not in str(error.value)
    assert no_network
    assert all(limit is not None and limit <= 60 for limit in no_network)
    assert socket.getdefaulttimeout() is None


def test_class_folders_are_read_in_place_of_the_official_files(load, photos: Path, caplog):
    caplog.set_level(logging.INFO)
    images = load("cifar10", root=photos, image_size=8)
    assert images.sealed_labels is not None
    assert images.sealed_labels.names == ("cat", "dog")
    assert images.splits == ("test",) * 2 + ("train",) * 4
    assert (len(images.train_index), len(images.eval_index)) == (4, 2)
    assert any("class folders, 6 images, labels of 2 class folders" in line for line in caplog.messages)


def test_protocol_all_trains_on_every_image(load, photos: Path):
    images = load("cifar10", root=photos, protocol="all")
    assert images.train_index.tolist() == images.eval_index.tolist() == list(range(6))


@pytest.mark.parametrize("root", [None, "nowhere", "empty"])
def test_a_root_without_images_is_answered_with_what_is_looked_for_and_what_to_type(load, tmp_path, root):
    (tmp_path / "empty").mkdir()
    changes = {} if root is None else {"root": tmp_path / root}
    with pytest.raises(UserError) as error:
        load("cifar10", **changes)
    message = str(error.value)
    assert "\n" not in message
    for part in ("data.root=PATH", "cifar-10-batches-py/", "train/CLASS/*.jpg", "data.download=true"):
        assert part in message
    assert root is None or str(tmp_path / root) in message


def test_a_file_is_no_root(load, tmp_path: Path):
    (tmp_path / "file").touch()
    for download in (False, True):
        with pytest.raises(UserError, match=r"data\.root=.*file"):
            load("cifar10", root=tmp_path / "file", download=download)


def test_whether_the_network_may_be_used_does_not_change_the_key(settings_of):
    assert settings_of("cifar10", download=True).key_values() == settings_of("cifar10").key_values()
