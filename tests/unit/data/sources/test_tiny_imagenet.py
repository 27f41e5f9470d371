import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from clusterlab.data.decode import decode_file
from clusterlab.data.sources.tiny_imagenet import TinyImageNetArchive
from clusterlab.errors import UserError

WNIDS = ("n01443537", "n02085936", "n07753592")
VAL = (("val_0.JPEG", 2), ("val_1.JPEG", 0), ("val_10.JPEG", 2), ("val_2.JPEG", 1))
"""Validation images in the order of their names, with their classes."""
FOLDER = TinyImageNetArchive.base_folder


@pytest.fixture
def official(tmp_path: Path, write_image) -> Path:
    """A root with ten images in the official layout."""
    folder = tmp_path / "official" / FOLDER
    for wnid in WNIDS:
        for i in range(2):
            write_image(folder / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", (64, 64))
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t63\t63\n")
    for name, _ in VAL:
        write_image(folder / "val" / "images" / name, (64, 64))
    write_image(folder / "test" / "images" / "test_0.JPEG", (64, 64))
    lines = [f"{name}\t{WNIDS[c]}\t0\t32\t44\t62\n" for name, c in reversed(VAL)]
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in reversed(WNIDS)))
    return folder.parent


@pytest.fixture
def archive(official: Path, tmp_path: Path, monkeypatch) -> Path:
    """A root with nothing but the archive in it."""
    root = tmp_path / "packed"
    shutil.make_archive(str(root / FOLDER), "zip", official, FOLDER)
    content = (root / TinyImageNetArchive.filename).read_bytes()
    monkeypatch.setattr(TinyImageNetArchive, "tgz_md5", hashlib.md5(content).hexdigest())
    return root


BOTH = {"protocol": "split", "splits": ["train", "test"]}


def test_the_training_images_are_trained_on_and_scored(load, official: Path):
    images = load("tiny_imagenet", root=official)
    assert images.ids == tuple(f"train/{wnid}/images/{wnid}_{i}.JPEG" for wnid in WNIDS for i in range(2))
    assert images.train_index.tolist() == images.eval_index.tolist() == list(range(6))
    assert images.sealed_labels is not None
    assert images.sealed_labels.names == WNIDS
    assert images.sealed_labels.values.tolist() == [0, 0, 1, 1, 2, 2]
    assert np.array_equal(images.pixels, [decode_file(official / FOLDER / name, 64) for name in images.ids])


def test_protocol_split_scores_on_the_validation_images_by_their_annotations(load, official: Path):
    images = load("tiny_imagenet", root=official, **BOTH)
    assert images.splits == ("train",) * 6 + ("test",) * 4
    assert images.ids[6:] == tuple(f"val/images/{name}" for name, _ in VAL)
    assert images.eval_index.tolist() == [6, 7, 8, 9]
    assert images.sealed_labels.values.tolist()[6:] == [c for _, c in VAL]


def test_protocol_split_needs_both_parts(load, official: Path):
    with pytest.raises(UserError, match=r"add 'data\.splits=\[train,test\]'"):
        load("tiny_imagenet", root=official, protocol="split")


def test_without_labels_the_images_are_the_same(load, official: Path):
    told, silenced = (load("tiny_imagenet", root=official, labels=labels, **BOTH) for labels in ("auto", "none"))
    assert silenced.sealed_labels is None
    assert told.fingerprint == silenced.fingerprint


def test_the_root_may_be_the_folder_itself(load, official: Path):
    expected = load("tiny_imagenet", root=official).fingerprint
    assert load("tiny_imagenet", root=official / FOLDER).fingerprint == expected


def test_the_archive_is_extracted_beside_it(load, official: Path, archive: Path):
    expected = load("tiny_imagenet", root=official, **BOTH).fingerprint
    assert load("tiny_imagenet", root=archive, **BOTH).fingerprint == expected
    left = sorted(path.name for path in archive.iterdir() if not path.name.startswith("."))
    assert left == [FOLDER, TinyImageNetArchive.filename]


def test_a_damaged_archive_is_refused(load, archive: Path):
    (archive / TinyImageNetArchive.filename).write_bytes(b"half of it")
    with pytest.raises(UserError, match=r"tiny-imagenet-200\.zip is damaged.*data\.download=true"):
        load("tiny_imagenet", root=archive)
    assert not (archive / FOLDER).exists()


def test_download_fetches_the_official_archive_by_its_checksum(load, archive: Path, tmp_path: Path, monkeypatch):
    def fetch(url: str, root: str, filename: str, md5: str) -> None:
        assert url == "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
        assert md5 == TinyImageNetArchive.tgz_md5
        shutil.copyfile(archive / filename, Path(root) / filename)

    monkeypatch.setattr("torchvision.datasets.utils.download_url", fetch)
    assert len(load("tiny_imagenet", root=tmp_path / "new", download=True)) == 6


def test_a_class_without_images_is_named(load, official: Path):
    shutil.rmtree(official / FOLDER / "train" / WNIDS[1])
    with pytest.raises(UserError, match=r"train/n02085936/images has no image files"):
        load("tiny_imagenet", root=official)


def test_a_list_of_classes_that_is_none_is_refused(load, official: Path):
    (official / FOLDER / "wnids.txt").write_text("goldfish\n")
    with pytest.raises(UserError, match=r"line 1 of .*wnids\.txt: goldfish is not a wnid"):
        load("tiny_imagenet", root=official)


@pytest.mark.parametrize(
    ("annotations", "problem"),
    [
        (None, r"val/val_annotations\.txt cannot be read"),
        ("val_0.JPEG\tn01443537\nval_1.JPEG\n", r"val/val_annotations\.txt has no class for val_1\.JPEG"),
        ("", r"val/val_annotations\.txt has no class for val_0\.JPEG"),
        ("val_0.JPEG\tn00000000\n", r"val/val_annotations\.txt has no class for val_0\.JPEG"),
    ],
)
def test_validation_images_without_a_class_are_refused_and_can_be_done_without(
    load, official: Path, annotations, problem
):
    path = official / FOLDER / "val" / "val_annotations.txt"
    path.unlink()
    if annotations is not None:
        path.write_text(annotations)
    with pytest.raises(UserError, match=rf"{problem}.*'data\.splits=\[train\]' data\.protocol=all") as error:
        load("tiny_imagenet", root=official, **BOTH)
    assert "\n" not in str(error.value)
    assert len(load("tiny_imagenet", root=official)) == 6


def test_no_validation_images_at_all_are_refused(load, official: Path):
    shutil.rmtree(official / FOLDER / "val" / "images")
    with pytest.raises(UserError, match=r"val/images/ is empty"):
        load("tiny_imagenet", root=official, **BOTH)


@pytest.mark.parametrize("root", [None, "nowhere", "folders"])
def test_a_root_without_it_is_answered_with_what_is_looked_for(load, tmp_path: Path, write_image, root):
    for part in ("train", "test"):
        write_image(tmp_path / "folders" / part / "cat" / "1.png")
    with pytest.raises(UserError) as error:
        load("tiny_imagenet", **({} if root is None else {"root": tmp_path / root}))
    for part in ("data=tiny_imagenet", "data.root=PATH", "tiny-imagenet-200/", ".zip", "data.download=true"):
        assert part in str(error.value)
    assert "None" not in str(error.value)
