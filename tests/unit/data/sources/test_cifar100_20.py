import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR100

from clusterlab.errors import UserError

COARSE_OF_FINE = (
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10,
    12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16,
    12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14,
    13,
)  # fmt: skip
"""The superclass of each class, as the official files have it; the project itself reads it from there."""
SUPERCLASSES = (
    "aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables", "household_electrical_devices",
    "household_furniture", "insects", "large_carnivores", "large_man-made_outdoor_things",
    "large_natural_outdoor_scenes", "large_omnivores_and_herbivores", "medium_mammals", "non-insect_invertebrates",
    "people", "reptiles", "small_mammals", "trees", "vehicles_1", "vehicles_2",
)  # fmt: skip
FINE = {"train": tuple(range(100)), "test": (99, 0, 41, 7)}


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def official(tmp_path: Path, monkeypatch) -> Path:
    """A root with one image of each class to train on and four to test, and torchvision's checksums to match."""
    folder = tmp_path / "official" / CIFAR100.base_folder
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for split, fine in FINE.items():
        content = {
            "data": draw.integers(0, 256, (len(fine), 3072), dtype=np.uint8),
            "fine_labels": list(fine),
            "coarse_labels": [COARSE_OF_FINE[label] for label in fine],
        }
        (folder / split).write_bytes(pickle.dumps(content, protocol=2))
        monkeypatch.setattr(CIFAR100, f"{split}_list", [[split, md5(folder / split)]])
    meta = {"fine_label_names": [f"class {i}" for i in range(100)], "coarse_label_names": list(SUPERCLASSES)}
    (folder / "meta").write_bytes(pickle.dumps(meta, protocol=2))
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": md5(folder / "meta")})
    return folder.parent


def test_the_superclasses_of_the_official_files_are_the_classes(load, official: Path):
    labels = load("cifar100_20", root=official).sealed_labels
    assert labels is not None
    assert labels.names == SUPERCLASSES
    assert labels.values.tolist() == [COARSE_OF_FINE[i] for split in ("train", "test") for i in FINE[split]]
    assert np.bincount(labels.values[:100]).tolist() == [5] * 20
    # Checks the list above, which the files of this test are made from, against the official one.
    assert sum((i + 1) * int(label) for i, label in enumerate(labels.values[:100])) == 49907


def test_pixels_are_those_that_torchvision_reads(load, official: Path):
    pixels = load("cifar100_20", root=official).pixels
    read = np.concatenate([CIFAR100(official, train=train).data for train in (True, False)])
    assert np.array_equal(pixels, read.transpose(0, 3, 1, 2))


def test_pools_follow_the_splits_and_the_protocol(load, official: Path):
    split = load("cifar100_20", root=official)
    assert split.splits == ("train",) * 100 + ("test",) * 4
    assert split.train_index.tolist() == split.pretext_index.tolist() == list(range(100))
    assert split.eval_index.tolist() == [100, 101, 102, 103]
    both = load("cifar100_20", root=official, protocol="all")
    assert both.train_index.tolist() == both.eval_index.tolist() == both.pretext_index.tolist() == list(range(104))


def test_the_root_may_be_the_folder_of_the_files(load, official: Path):
    inside = load("cifar100_20", root=official / CIFAR100.base_folder)
    assert inside.fingerprint == load("cifar100_20", root=official).fingerprint


@pytest.mark.parametrize("name", ["train", "test", "meta"])
def test_a_file_that_is_damaged_is_refused_and_not_unpickled(load, official: Path, name, monkeypatch):
    path = official / CIFAR100.base_folder / name
    path.write_bytes(path.read_bytes()[:-1])
    monkeypatch.setattr("pickle.load", None)
    with pytest.raises(UserError, match=r"cifar-100-python is not whole.*cifar-100-python\.tar\.gz"):
        load("cifar100_20", root=official)


def test_class_folders_are_read_in_place_of_the_official_files(load, photos: Path):
    images = load("cifar100_20", root=photos)
    assert images.pixels.shape == (6, 3, 32, 32)
    assert images.sealed_labels is not None
    assert images.sealed_labels.names == ("cat", "dog")


def test_a_root_without_images_is_answered_with_what_is_looked_for(load, tmp_path: Path):
    with pytest.raises(UserError) as error:
        load("cifar100_20", root=tmp_path)
    for part in ("data=cifar100_20", "cifar-100-python/", "train/SUPERCLASS/*.jpg", "data.download=true"):
        assert part in str(error.value)
