"""The official layouts and archives, on a thousand classes fewer; the lists of the subsets have their own tests."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from torchvision.datasets.imagenet import ARCHIVE_META

from clusterlab.data.decode import decode_file
from clusterlab.errors import UserError

WNIDS = ("n01443537", "n02085936", "n07753592")


@pytest.fixture
def three(load):
    """Load a root that has three classes and not a thousand."""

    def three(**changes):
        return load("imagenet", **{"num_classes": 3, "image_size": 8} | changes)

    return three


@pytest.mark.parametrize(
    "folders", [("ILSVRC2012_img_train", "ILSVRC2012_img_val"), ("train", "val"), ("train", "test")]
)
def test_class_folders_give_splits_and_labels_class_by_class(three, tmp_path: Path, write_classes, folders):
    write_classes(tmp_path / "root", reversed(WNIDS), folders)
    images = three(root=tmp_path / "root")
    train = [f"{folders[0]}/{wnid}/{wnid}_{i}.JPEG" for wnid in WNIDS for i in range(2)]
    test = [f"{folders[1]}/{wnid}/{wnid}_0.JPEG" for wnid in WNIDS]
    assert images.ids == (*train, *test)
    assert images.splits == ("train",) * 6 + ("test",) * 3
    assert images.protocol == "split"
    assert images.sealed_labels is not None
    assert images.sealed_labels.names == WNIDS
    assert images.sealed_labels.values.tolist() == [0, 0, 1, 1, 2, 2, 0, 1, 2]
    expected = [decode_file(tmp_path / "root" / name, 8) for name in images.ids]
    assert np.array_equal(images.pixels, expected)


def test_protocol_all_trains_and_scores_on_the_parts_that_are_read(three, tmp_path: Path, write_classes):
    write_classes(tmp_path / "root", WNIDS)
    both = three(root=tmp_path / "root", protocol="all")
    assert both.train_index.tolist() == both.eval_index.tolist() == list(range(9))
    train = three(root=tmp_path / "root", protocol="all", splits=["train"])
    assert train.train_index.tolist() == train.eval_index.tolist() == list(range(6))
    assert set(train.splits) == {"train"}
    test = three(root=tmp_path / "root", protocol="all", splits=["test"])
    assert test.splits == ("test",) * 3
    assert test.sealed_labels.values.tolist() == [0, 1, 2]


def test_a_part_that_is_not_read_need_not_be_there_and_protocol_split_needs_both(three, tmp_path: Path, write_classes):
    write_classes(tmp_path / "root", WNIDS, ("train", None))
    assert len(three(root=tmp_path / "root", protocol="all", splits=["train"])) == 6
    with pytest.raises(UserError, match=r"data\.splits=\[train\]: add 'data\.splits=\[train,test\]'"):
        three(root=tmp_path / "root", splits=["train"])
    with pytest.raises(UserError, match=r"ILSVRC2012_img_val/ or val/ or test/.*'data\.splits=\[train\]' data\.protoc"):
        three(root=tmp_path / "root")


def test_without_labels_the_images_are_the_same(three, tmp_path: Path, write_classes):
    write_classes(tmp_path / "root", WNIDS)
    told, silenced = three(root=tmp_path / "root"), three(root=tmp_path / "root", labels="none")
    assert silenced.sealed_labels is None
    assert (told.fingerprint, told.ids) == (silenced.fingerprint, silenced.ids)


def test_a_list_picks_classes_and_names_them(three, tmp_path: Path, write_classes):
    write_classes(tmp_path / "root", WNIDS)
    chosen = tmp_path / "mine.txt"
    chosen.write_text("# my own\n\nn07753592  banana \nn01443537\n", encoding="utf-8-sig")
    images = three(root=tmp_path / "root", class_list=str(chosen), num_classes=None, limit=3)
    assert {name.split("/")[1] for name in images.ids} == {"n01443537", "n07753592"}
    assert images.sealed_labels.names == ("n01443537", "banana")
    with pytest.raises(UserError, match=r"mine\.txt has 2 classes, and data\.num_classes=3: .*data\.num_classes=2"):
        three(root=tmp_path / "root", class_list=str(chosen))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"n02085936\nMaltese dog\n", r"line 2 of .*mine\.txt: Maltese is not a wnid"),
        (b"n02085936\n# again\nn02085936 Maltese\n", r"line 3 of .*mine\.txt: n02085936 is there twice"),
        (b"# nothing\n", r"mine\.txt names no class"),
        (b"\xff\xfe\x00", r"mine\.txt cannot be read as text"),
        (None, r"mine\.txt cannot be read as text"),
    ],
)
def test_a_list_that_is_none_is_refused_in_one_line(three, tmp_path: Path, write_classes, content, problem):
    write_classes(tmp_path / "root", WNIDS)
    if content is not None:
        (tmp_path / "mine.txt").write_bytes(content)
    with pytest.raises(UserError, match=problem) as error:
        three(root=tmp_path / "root", class_list=str(tmp_path / "mine.txt"))
    assert "\n" not in str(error.value)


def test_a_thousand_classes_are_expected(load, tmp_path: Path, write_classes):
    write_classes(tmp_path / "root", WNIDS)
    with pytest.raises(UserError, match=r"train has 3 classes, and data\.num_classes=1000: .*data\.num_classes=3"):
        load("imagenet", root=tmp_path / "root")


def test_what_is_no_class_folder_is_passed_over(three, tmp_path: Path, write_classes, write_image):
    write_classes(tmp_path / "root", WNIDS)
    write_image(tmp_path / "root" / "ILSVRC2012_img_train" / "cat" / "1.JPEG")
    (tmp_path / "root" / "ILSVRC2012_img_train" / "n01443537.tar").touch()
    assert len(three(root=tmp_path / "root")) == 9


def test_a_class_that_is_missing_or_empty_is_named(three, tmp_path: Path, write_classes):
    root = tmp_path / "root"
    write_classes(root, WNIDS)
    image = root / "ILSVRC2012_img_val" / WNIDS[1] / f"{WNIDS[1]}_0.JPEG"
    image.unlink()
    with pytest.raises(UserError, match=r"img_val/n02085936 has no image files"):
        three(root=root)
    image.parent.rmdir()
    with pytest.raises(UserError, match=r"img_val lacks 1 of the 3 classes .*, such as n02085936: .*FILE"):
        three(root=root)


def test_validation_images_in_no_class_folders_are_refused(three, tmp_path: Path, write_classes, write_image):
    write_classes(tmp_path / "root", WNIDS, ("train", None))
    write_image(tmp_path / "root" / "val" / "ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(UserError, match=r"val has no class folders.*ILSVRC2012_devkit_t12\.tar\.gz"):
        three(root=tmp_path / "root")


@pytest.mark.parametrize("root", [None, "nowhere", "empty", "file"])
def test_a_root_without_images_is_answered_with_what_is_looked_for(three, tmp_path: Path, root):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"data\.root.*ILSVRC2012_img_train") as error:
        three(**({} if root is None else {"root": tmp_path / root}))
    assert "\n" not in str(error.value)


def test_the_second_load_decodes_nothing(three, tmp_path: Path, write_classes, monkeypatch):
    write_classes(tmp_path / "root", WNIDS)
    first = three(root=tmp_path / "root")
    monkeypatch.setattr("clusterlab.data.imagenet.decode_file", None)
    assert np.array_equal(three(root=tmp_path / "root").pixels, first.pixels)


def tar_of(files: dict[str, bytes], mode: str = "w:") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def archives(tmp_path: Path, write_classes, monkeypatch) -> Path:
    """A root with nothing but three archives as ILSVRC has them, and torchvision's checksums to match."""
    source, root = tmp_path / "source", tmp_path / "packed"
    write_classes(source, WNIDS, ("train", "val"))
    root.mkdir()
    classes = {
        f"{wnid}.tar": tar_of({p.name: p.read_bytes() for p in sorted((source / "train" / wnid).iterdir())})
        for wnid in WNIDS
    }
    # The third of the official order is the first that was shot: images tell their class through the devkit alone.
    order = (2, 0, 1)
    val = {
        f"ILSVRC2012_val_{i:08d}.JPEG": next((source / "val" / WNIDS[c]).iterdir()).read_bytes()
        for i, c in enumerate(order, start=1)
    }
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    rows = [(i, wnid, "a word, another", "a gloss", 0) for i, wnid in enumerate(WNIDS, start=1)]
    meta = io.BytesIO()
    scipy.io.savemat(meta, {"synsets": np.array([*rows, (4, "n00001740", "entity", "a gloss", 3)], dtype=kinds)})
    devkit = {
        "ILSVRC2012_devkit_t12/data/meta.mat": meta.getvalue(),
        "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": b"".join(b"%d\n" % (c + 1) for c in order),
    }
    contents = {"train": tar_of(classes), "val": tar_of(val), "devkit": tar_of(devkit, "w:gz")}
    for part, content in contents.items():
        name = ARCHIVE_META[part][0]
        (root / name).write_bytes(content)
        monkeypatch.setitem(ARCHIVE_META, part, (name, hashlib.md5(content).hexdigest()))
    return root


def test_the_official_archives_are_extracted_and_kept(three, archives: Path):
    images = three(root=archives)
    assert images.splits == ("train",) * 6 + ("test",) * 3
    assert images.sealed_labels.values.tolist() == [0, 0, 1, 1, 2, 2, 0, 1, 2]
    source = archives.parent / "source"
    val = [decode_file(next((source / "val" / wnid).iterdir()), 8) for wnid in WNIDS]
    assert np.array_equal(images.pixels[6:], val)
    names = {path.name for path in archives.iterdir() if not path.name.startswith(".")}
    assert names == {"train", "val", "meta.bin", *(name for name, _ in ARCHIVE_META.values())}


def test_only_the_archives_of_the_parts_that_are_read_are_extracted(three, archives: Path):
    assert len(three(root=archives, protocol="all", splits=["train"])) == 6
    assert not (archives / "val").exists()


@pytest.mark.parametrize(("part", "folder"), [("train", "train"), ("val", "val"), ("devkit", "val")])
def test_a_damaged_archive_is_refused_and_leaves_nothing_behind(three, archives: Path, part, folder):
    name = ARCHIVE_META[part][0]
    (archives / name).write_bytes(b"half of it")
    with pytest.raises(UserError, match=rf"could not extract .*{name}.* corrupted.*{folder}/WNID/") as error:
        three(root=archives)
    assert "\n" not in str(error.value)
    assert not (archives / folder).exists()
    assert [path.name for path in archives.iterdir() if path.name.startswith(".extracting")] == []


def test_validation_images_without_the_devkit_are_not_touched(three, archives: Path):
    (archives / ARCHIVE_META["devkit"][0]).unlink()
    with pytest.raises(UserError, match=r"nor ILSVRC2012_img_val\.tar and ILSVRC2012_devkit_t12\.tar\.gz: put one"):
        three(root=archives)
    assert not (archives / "val").exists()
