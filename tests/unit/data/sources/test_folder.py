import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clusterlab.errors import UserError


def test_class_folders_give_labels_and_top_folders_give_splits(load, photos: Path):
    images = load("folder", root=photos, image_size=8, protocol="split")
    assert images.ids == (
        *("test/cat/3.png", "test/dog/3.png"),
        *("train/cat/1.png", "train/cat/2.png", "train/dog/1.png", "train/dog/2.png"),
    )
    assert images.splits == ("test", "test", "train", "train", "train", "train")
    assert images.sealed_labels is not None
    assert images.sealed_labels.names == ("cat", "dog")
    assert images.sealed_labels.values.tolist() == [0, 1, 0, 0, 1, 1]
    for row, name in zip(images.pixels, images.ids, strict=True):
        with Image.open(photos / name) as image:
            assert np.array_equal(row.transpose(1, 2, 0), np.asarray(image))


def test_a_tree_of_any_other_shape_has_no_labels_and_the_log_says_why(load, write_image, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for name in ("2021/june/1.png", "2021/2.png", "3.png"):
        write_image(tmp_path / "album" / name)
    images = load("folder", root=tmp_path / "album")
    assert images.sealed_labels is None
    assert images.splits == ("train",) * 3
    assert any("3 images, no labels, for 2021/june/1.png does not lie in" in line for line in caplog.messages)


def test_with_labels_none_nothing_is_said_about_labels(load, photos: Path, caplog):
    caplog.set_level(logging.INFO)
    images = load("folder", root=photos, labels="none")
    assert images.sealed_labels is None
    assert not any(" labels" in line for line in caplog.messages)
    assert images.fingerprint == load("folder", root=photos).fingerprint


def test_names_outside_ascii_are_kept(load, write_image, tmp_path: Path):
    for name in ("Katzen/Öhrchen 猫.png", "Hunde/naïve\u0301.png"):
        write_image(tmp_path / "fotos" / name)
    images = load("folder", root=tmp_path / "fotos")
    assert images.ids == ("Hunde/naïve\u0301.png", "Katzen/Öhrchen 猫.png")
    assert load("folder", root=tmp_path / "fotos").ids == images.ids


def test_two_identical_images_are_both_there(load, photos: Path):
    (photos / "train/dog/1.png").write_bytes((photos / "train/cat/1.png").read_bytes())
    images = load("folder", root=photos, image_size=8)
    rows = dict(zip(images.ids, images.pixels, strict=True))
    assert len(rows) == 6
    assert np.array_equal(rows["train/dog/1.png"], rows["train/cat/1.png"])


def test_one_broken_file_among_many_is_left_out_with_its_label(load, photos: Path, caplog):
    (photos / "train/cat/2.png").write_bytes(b"")
    (photos / "train/dog/2.png").write_bytes(b"not an image")
    (photos / "train/dog/x.jpg").mkdir()
    images = load("folder", root=photos)
    assert images.ids == ("test/cat/3.png", "test/dog/3.png", "train/cat/1.png", "train/dog/1.png")
    assert images.sealed_labels is not None
    assert images.sealed_labels.values.tolist() == [0, 1, 0, 1]
    assert [name for name, _ in images.unreadable] == [
        "train/dog/x.jpg",
        "train/cat/2.png",
        "train/dog/2.png",
    ]
    assert [reason for _, reason in images.unreadable][:2] == ["a folder", "an empty file"]
    assert sum(record.levelno == logging.WARNING for record in caplog.records) == 1


def test_odd_metadata_is_no_reason_to_leave_an_image_out_or_to_warn(load, photos: Path):
    cut_short = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x05\x01\x12"  # Pillow warns; here a warning is an error
    Image.new("RGB", (8, 8)).save(photos / "train/cat/odd.jpg", exif=cut_short)
    assert load("folder", root=photos).unreadable == ()


def test_if_all_files_are_broken_the_folder_and_the_first_are_named(load, photos: Path):
    for path in photos.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"none of the 6 images of .*photos.*test/cat/3\.png: an empty file$"):
        load("folder", root=photos)


def test_an_empty_folder_a_file_and_nothing_are_refused_each_in_one_line(load, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.npy").touch()
    for root, expected in (
        ("empty", r"empty holds no image files \(\.jpg .*\.pgm\): set data\.root"),
        ("file.npy", r"file\.npy is a file.*data=arrays"),
        ("nothing", r"nothing does not exist.*data\.root=PATH"),
    ):
        with pytest.raises(UserError, match=expected) as error:
            load("folder", root=tmp_path / root)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"needs data\.root=PATH"):
        load("folder")


def test_protocol_split_without_a_test_folder_is_refused(load, write_image, tmp_path: Path):
    write_image(tmp_path / "album" / "x.png")
    with pytest.raises(
        UserError, match=r"album has no test split \(.*train/, test/ or unlabeled/\).*data\.protocol=all"
    ):
        load("folder", root=tmp_path / "album", protocol="split")


def test_the_second_load_decodes_nothing(load, photos: Path, monkeypatch):
    first = load("folder", root=photos)
    monkeypatch.setattr("clusterlab.data.tree.decode_file", None)
    second = load("folder", root=photos)
    assert np.array_equal(first.pixels, second.pixels)
    assert (first.ids, first.fingerprint) == (second.ids, second.fingerprint)


def test_a_moved_folder_is_not_decoded_again(load, photos: Path, monkeypatch):
    first = load("folder", root=photos)
    moved = photos.rename(photos.with_name("moved"))
    monkeypatch.setattr("clusterlab.data.tree.decode_file", None)
    assert load("folder", root=moved).fingerprint == first.fingerprint


def test_a_changed_file_is_decoded_again(load, photos: Path):
    before = load("folder", root=photos, image_size=8)
    path = photos / "train/cat/1.png"
    Image.new("RGB", (8, 8), "white").save(path)
    after = load("folder", root=photos, image_size=8)
    row = after.ids.index("train/cat/1.png")
    assert (after.pixels[row] == 255).all()
    assert after.fingerprint != before.fingerprint


def test_a_touched_file_is_decoded_again_to_the_same_fingerprint(load, photos: Path, monkeypatch):
    before = load("folder", root=photos)
    os.utime(photos / "train/cat/1.png", ns=(1, 1))
    assert load("folder", root=photos).fingerprint == before.fingerprint
    os.utime(photos / "train/cat/1.png", ns=(2, 2))
    monkeypatch.setattr("clusterlab.data.tree.decode_file", None)
    with pytest.raises(TypeError):
        load("folder", root=photos)


def test_a_limit_decodes_only_the_images_that_it_takes(load, photos: Path, monkeypatch):
    decoded = []

    def decode(path: Path, size: int) -> np.ndarray:
        decoded.append(path)
        return np.zeros((3, size, size), dtype=np.uint8)

    monkeypatch.setattr("clusterlab.data.tree.decode_file", decode)
    images = load("folder", root=photos, limit=1)
    assert images.splits == ("test", "train")
    assert sorted(decoded) == sorted(photos / name for name in images.ids)
