import hashlib
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import STL10

from clusterlab.errors import UserError

LABELS = {"train": (10, 1, 2, 1), "test": (3, 10, 1)}
"""From 1 on, as in the official files."""
COUNTS = {"train": 4, "test": 3, "unlabeled": 5}


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def scans(split: str) -> np.ndarray:
    """n×c×y×x."""
    draw = np.random.default_rng(len(split))
    return draw.integers(0, 256, (COUNTS[split], 3, 96, 96), dtype=np.uint8)


@pytest.fixture
def official(tmp_path: Path, monkeypatch) -> Path:
    """A root with twelve images in the official layout, and torchvision's checksums to match."""
    folder = tmp_path / "official" / STL10.base_folder
    folder.mkdir(parents=True)
    for split in COUNTS:
        scans(split).transpose(0, 1, 3, 2).tofile(folder / f"{split}_X.bin")
    for split, labels in LABELS.items():
        np.array(labels, dtype=np.uint8).tofile(folder / f"{split}_y.bin")
    for name in ("train_list", "test_list"):
        monkeypatch.setattr(STL10, name, [[file, md5(folder / file)] for file, _ in getattr(STL10, name)])
    return folder.parent


def test_the_official_files_give_every_image_split_and_class_in_their_order(load, official: Path):
    images = load("stl10", root=official)
    assert images.splits == ("train",) * 4 + ("test",) * 3 + ("unlabeled",) * 5
    assert images.ids == tuple(str(i) for i in range(12))
    assert np.array_equal(images.pixels, np.concatenate([scans(split) for split in COUNTS]))
    assert images.sealed_labels is not None
    assert images.sealed_labels.values.tolist() == [9, 0, 1, 0, 2, 9, 0, -1, -1, -1, -1, -1]
    assert [images.sealed_labels.names[c] for c in (0, 2, 9)] == ["airplane", "car", "truck"]


def test_pixels_and_labels_are_those_that_torchvision_reads(load, official: Path):
    images = load("stl10", root=official)
    parts = [STL10(official, split=split) for split in COUNTS]
    assert np.array_equal(images.pixels, np.concatenate([part.data for part in parts]))
    read = np.concatenate([part.labels.astype(np.int8) for part in parts])
    assert images.sealed_labels is not None
    assert images.sealed_labels.values.tolist() == read.tolist()


def test_a_line_of_the_file_is_a_column_of_the_image(load, official: Path, monkeypatch):
    path = official / STL10.base_folder / "train_X.bin"
    content = np.fromfile(path, dtype=np.uint8)
    content[:96], content[96 : 2 * 96] = 255, 0
    content.tofile(path)
    monkeypatch.setattr(STL10, "train_list", [["train_X.bin", md5(path)], *STL10.train_list[1:]])
    red = load("stl10", root=official).pixels[0, 0]
    assert (red[:, 0] == 255).all()
    assert (red[:, 1] == 0).all()


def test_features_are_trained_on_train_and_unlabeled_and_the_rest_on_train(load, official: Path):
    images = load("stl10", root=official)
    assert images.pretext_index.tolist() == [0, 1, 2, 3, 7, 8, 9, 10, 11]
    assert images.train_index.tolist() == [0, 1, 2, 3]
    assert images.eval_index.tolist() == [4, 5, 6]


def test_protocol_all_trains_and_scores_on_every_image_that_may_have_a_label(load, official: Path):
    images = load("stl10", root=official, protocol="all")
    assert images.pretext_index.tolist() == list(range(12))
    assert images.train_index.tolist() == images.eval_index.tolist() == list(range(7))


def test_a_limit_holds_for_each_split(load, official: Path):
    images = load("stl10", root=official, limit=2)
    assert images.splits == ("train",) * 2 + ("test",) * 2 + ("unlabeled",) * 2


def test_without_labels_the_same_images_are_pooled_alike(load, official: Path):
    told, silenced = load("stl10", root=official), load("stl10", root=official, labels="none")
    assert silenced.sealed_labels is None
    assert (told.fingerprint, told.splits) == (silenced.fingerprint, silenced.splits)


def test_the_second_load_does_not_read_the_pixels_again(load, official: Path, monkeypatch):
    first = load("stl10", root=official)
    monkeypatch.setattr("clusterlab.data.sources.stl10._image", None)
    checked = []
    monkeypatch.setattr(
        "clusterlab.data.official.check_integrity", lambda path, md5: checked.append((path.name, md5)) or True
    )
    assert np.array_equal(load("stl10", root=official).pixels, first.pixels)
    assert {name for name, md5 in checked if md5} == {"train_y.bin", "test_y.bin"}


@pytest.mark.parametrize("name", ["train_X.bin", "test_X.bin", "unlabeled_X.bin", "train_y.bin", "test_y.bin"])
def test_a_file_that_is_damaged_or_missing_is_refused(load, official: Path, name):
    path = official / STL10.base_folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=r"stl10_binary is not whole.*data\.download=true"):
        load("stl10", root=official)
    path.unlink()
    with pytest.raises(UserError, match=r"stl10_binary is not whole"):
        load("stl10", root=official)


def test_an_archive_in_the_root_is_extracted(load, official: Path, tmp_path: Path, monkeypatch):
    expected = load("stl10", root=official).fingerprint
    root = tmp_path / "packed"
    root.mkdir()
    with tarfile.open(root / STL10.filename, "w:gz") as tar:
        tar.add(official / STL10.base_folder, STL10.base_folder)
    monkeypatch.setattr(STL10, "tgz_md5", md5(root / STL10.filename))
    assert load("stl10", root=root).fingerprint == expected


def test_class_folders_are_read_with_a_flat_folder_of_unlabelled_images(load, photos: Path, write_image):
    write_image(photos / "unlabeled" / "1.png")
    write_image(photos / "unlabeled" / "2.png")
    images = load("stl10", root=photos)
    assert images.splits == ("test",) * 2 + ("train",) * 4 + ("unlabeled",) * 2
    assert images.pixels.shape == (8, 3, 96, 96)
    assert images.sealed_labels is not None
    assert images.sealed_labels.names == ("cat", "dog")
    assert images.sealed_labels.values.tolist() == [0, 1, 0, 0, 1, 1, -1, -1]
    assert images.pretext_index.tolist() == [2, 3, 4, 5, 6, 7]


def test_class_folders_without_unlabelled_images_are_enough(load, photos: Path):
    images = load("stl10", root=photos)
    assert images.pretext_index.tolist() == images.train_index.tolist() == [2, 3, 4, 5]
    shutil.rmtree(photos / "test")
    with pytest.raises(UserError, match=r"data=stl10"):
        load("stl10", root=photos)


@pytest.mark.parametrize("root", [None, "nowhere", "empty"])
def test_a_root_without_images_is_answered_with_what_is_looked_for_and_what_to_type(load, tmp_path, root):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as error:
        load("stl10", **({} if root is None else {"root": tmp_path / root}))
    for part in ("data=stl10", "data.root=PATH", "stl10_binary/", "unlabeled/*.jpg", "data.download=true"):
        assert part in str(error.value)
