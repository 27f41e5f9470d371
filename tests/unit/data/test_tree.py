import os
from pathlib import Path

import pytest

from clusterlab.data.tree import layout_of, read_tree, tree_originals
from clusterlab.errors import UserError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_image_files_are_found_at_any_depth_in_the_order_of_their_paths(tmp_path: Path):
    names = ("b/2.JPG", "b/10.jpeg", "a-b/x.png", "a/x.WebP", "é/ß 雪.tiff", "z.pgm", "a/b/c/d.gif")
    tree = read_tree(touch(tmp_path, *names, "notes.txt", "a/model.jpg.part"))
    assert tree.ids == tuple(sorted(names))
    assert tree.skipped == ()


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path):
    tree = read_tree(touch(tmp_path, ".hidden.jpg", ".git/x.jpg", "__MACOSX/._x.jpg", "x.jpg"))
    assert tree.ids == ("x.jpg",)


def test_what_only_looks_like_an_image_is_listed(tmp_path: Path):
    touch(tmp_path, "x.jpg", "folder.jpg/inside.jpg")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    os.mkfifo(tmp_path / "pipe.gif")
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    tree = read_tree(tmp_path)
    assert tree.ids == ("x.jpg",)
    assert tree.skipped == (
        ("caf\\xe9", "a name that is not valid UTF-8"),
        ("caf\\xe9.jpg", "a name that is not valid UTF-8"),
        ("folder.jpg", "a folder"),
        ("gone.png", "a link to nothing"),
        ("pipe.gif", "no regular file"),
        ("self.png", "a link to nothing"),
    )


def test_a_folder_that_may_not_be_read_is_listed(tmp_path: Path, monkeypatch):
    touch(tmp_path, "open/x.jpg", "secret/y.jpg")
    scandir = os.scandir

    def forbid(folder: Path):
        if Path(folder).name == "secret":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", forbid)
    tree = read_tree(tmp_path)
    assert tree.ids == ("open/x.jpg",)
    assert tree.skipped == (("secret/", "a folder that cannot be read (Permission denied)"),)


def test_loops_of_links_end_and_linked_files_and_folders_are_read_once(tmp_path: Path):
    root = touch(tmp_path / "root", "cat/x.jpg", "zoo/y.jpg")
    touch(tmp_path / "elsewhere", "z.jpg")
    (root / "cat" / "up").symlink_to(root)
    (root / "here").symlink_to(".")
    (root / "a").symlink_to(root / "zoo")
    (root / "dog").symlink_to(tmp_path / "elsewhere")
    (root / "cat" / "link.jpg").symlink_to(root / "cat" / "x.jpg")
    assert read_tree(root).ids == ("cat/link.jpg", "cat/x.jpg", "dog/z.jpg", "zoo/y.jpg")


def test_a_stamp_follows_size_time_and_permissions(tmp_path: Path):
    path = touch(tmp_path, "x.jpg") / "x.jpg"
    stamps = [read_tree(tmp_path).stamps[0]]
    os.utime(path, ns=(1, 1))
    stamps.append(read_tree(tmp_path).stamps[0])
    path.write_bytes(b"xx")
    os.utime(path, ns=(1, 1))
    stamps.append(read_tree(tmp_path).stamps[0])
    path.chmod(0o400)
    stamps.append(read_tree(tmp_path).stamps[0])
    assert len(set(stamps)) == 4


@pytest.mark.parametrize(
    ("ids", "splits", "classes"),
    [
        (("cat/1", "dog/1"), ("train", "train"), ("cat", "dog")),
        (("test/cat/1", "train/dog/1"), ("test", "train"), ("cat", "dog")),
        (("train/cat/1", "train/dog/1"), ("train", "train"), ("cat", "dog")),
        (("test/1", "train/2"), ("test", "train"), None),
        (("test/b/1", "train/a/1", "unlabeled/1"), ("test", "train", "unlabeled"), ("a", "b")),
        (("train/a/1", "train/b/1", "unlabeled/x/y/1"), ("train", "train", "unlabeled"), ("a", "b")),
        (("train/a/1", "unlabeled/b/1"), ("train", "unlabeled"), None),
        (("train/a/1", "train/b/1", "unlabeled"), ("train",) * 3, None),
        (("cat/1", "unlabeled/1"), ("train", "train"), ("cat", "unlabeled")),
        (("unlabeled/1", "unlabeled/2"), ("train", "train"), None),
        (("cat/1", "test/1", "train/1"), ("train",) * 3, ("cat", "test", "train")),
        (("test/cat/1", "train/dog/1", "val/cat/1"), ("train",) * 3, None),
        (("cat/1", "cat/2"), ("train", "train"), None),
        (("cat/1", "dog/1", "x"), ("train",) * 3, None),
        (("cat/young/1", "dog/1"), ("train", "train"), None),
        (("1", "2"), ("train", "train"), None),
    ],
)
def test_splits_and_classes_are_read_off_the_folders(ids, splits, classes):
    layout = layout_of(ids)
    assert layout.splits == splits
    assert (layout.labels and layout.labels.names) == classes
    assert layout.about.startswith("labels of" if classes else "no labels")


def test_labels_follow_the_class_folders_of_both_splits():
    labels = layout_of(("test/dog/1", "train/cat/1", "train/dog/1")).labels
    assert labels is not None
    assert labels.values.tolist() == [1, 0, 1]


def test_what_lies_in_unlabeled_has_no_label():
    labels = layout_of(("test/dog/1", "train/cat/1", "unlabeled/1", "unlabeled/dog/1")).labels
    assert labels is not None
    assert labels.values.tolist() == [1, 0, -1, -1]


def test_a_folder_without_images_is_named_with_what_was_looked_for(tmp_path: Path):
    (tmp_path / "x.jpg").mkdir()
    with pytest.raises(
        UserError, match=r"holds no image files \(\.jpg .*\); x\.jpg is a folder: set data\.root"
    ) as error:
        tree_originals(tmp_path, 8)
    assert str(tmp_path) in str(error.value)
