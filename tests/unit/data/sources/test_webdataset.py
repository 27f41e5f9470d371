"""Shards written by the library webdataset itself."""

import sys
from pathlib import Path

import numpy as np
import pytest
from shard_files import decoded, encoded, write_shard, write_tar
from webdataset.tariterators import group_by_keys, tar_file_iterator

from clusterlab.errors import UserError


def test_a_folder_gives_every_image_split_and_label_in_the_order_of_the_shards(load, shards: Path, tmp_path: Path):
    images = load("webdataset", root=shards, image_size=8)
    assert images.ids == ("test-000000/0", "test-000000/1", "train-000000/0", "train-000000/1", "train-000001/0")
    assert images.splits == ("test",) * 2 + ("train",) * 3
    assert images.sealed_labels is not None
    assert images.sealed_labels.names == ("3", "7")
    assert images.sealed_labels.values.tolist() == [0, 0, 1, 0, 1]
    assert np.array_equal(images.pixels, [decoded(tmp_path, encoded(i)) for i in (3, 4, 0, 1, 2)])


def test_keys_images_and_labels_are_those_that_the_library_reads(load, shards: Path, tmp_path: Path):
    images = load("webdataset", root=shards, image_size=8)
    samples = []
    for path in sorted(shards.glob("*.tar")):
        with path.open("rb") as file:
            samples += group_by_keys({**member, "__url__": path.name} for member in tar_file_iterator(file))
    assert [sample["__key__"] for sample in samples] == list(images.ids)
    assert np.array_equal(images.pixels, [decoded(tmp_path, sample["png"]) for sample in samples])
    classes = [int(images.sealed_labels.names[c]) for c in images.sealed_labels.values]
    assert [int(sample["cls"]) for sample in samples] == classes


def test_both_protocols(load, shards: Path):
    split = load("webdataset", root=shards, protocol="split")
    assert (split.train_index.tolist(), split.eval_index.tolist()) == ([2, 3, 4], [0, 1])
    everything = load("webdataset", root=shards)
    assert everything.train_index.tolist() == everything.eval_index.tolist() == list(range(5))


def test_without_labels_none_is_read(load, shards: Path, monkeypatch):
    told = load("webdataset", root=shards)
    monkeypatch.setattr("clusterlab.data.sources.webdataset.read_bytes", None)
    silenced = load("webdataset", root=shards, labels="none")
    assert silenced.sealed_labels is None
    assert told.fingerprint == silenced.fingerprint


def test_braces_stand_for_shards_in_the_order_written(load, shards: Path):
    images = load("webdataset", root=f"{shards}/{{train-{{000000..000001}},test-000000}}.tar")
    assert images.ids == ("train-000000/0", "train-000000/1", "train-000001/0", "test-000000/0", "test-000000/1")
    assert images.splits == ("train",) * 3 + ("test",) * 2


def test_one_shard_is_enough(load, shards: Path):
    images = load("webdataset", root=shards / "train-000000.tar")
    assert images.ids == ("train-000000/0", "train-000000/1")
    with pytest.raises(UserError, match=r"has no test split \(splits are told apart if every shard has train, test"):
        load("webdataset", root=shards / "train-000000.tar", protocol="split")


def test_a_range_that_goes_too_far_is_refused(load, shards: Path):
    with pytest.raises(UserError, match=r"for 4 shards, and 2 of them do not exist, such as .*train-000002\.tar"):
        load("webdataset", root=f"{shards}/train-{{000000..000003}}.tar")
    with pytest.raises(UserError, match=r"cannot be expanded .*shards/\{000\.\.009\}\.tar"):
        load("webdataset", root=f"{shards}/train-{{000000..000003.tar")


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "JPEG", "png", "webp", "ppm", "bmp"])
def test_an_image_is_known_by_its_extension_and_decoded_as_a_file_is(load, tmp_path: Path, suffix):
    content = encoded(1, suffix.lower())
    root = write_tar(tmp_path / "a.tar", (f"x.{suffix}", content), ("y.txt", b"no image"))
    images = load("webdataset", root=root, image_size=8)
    assert images.ids == ("x",)
    assert np.array_equal(images.pixels[0], decoded(tmp_path, content))


def test_a_plain_extension_goes_before_a_longer_one(load, tmp_path: Path):
    root = write_tar(
        tmp_path / "a.tar",
        *(("x.seg.png", encoded(1)), ("x.png", encoded(2)), ("x.webp", encoded(3, "webp"))),
        *(("y.left.png", encoded(4)), ("y.right.png", encoded(5))),
    )
    images = load("webdataset", root=root, image_size=8)
    assert images.ids == ("x", "y")
    assert np.array_equal(images.pixels, [decoded(tmp_path, encoded(2)), decoded(tmp_path, encoded(4))])


def test_keys_that_two_shards_share_get_the_name_of_the_shard(load, tmp_path: Path):
    for i, name in enumerate(("train/000.tar", "val/000.tar")):
        write_shard(tmp_path / "root" / name, {"__key__": "a", "png": encoded(i)})
    assert load("webdataset", root=tmp_path / "root").ids == ("train/000/a", "val/000/a")


def test_labels_may_be_names_and_may_be_missing(load, tmp_path: Path):
    root = write_shard(
        tmp_path / "a.tar",
        {"__key__": "a", "png": encoded(1), "cls": b"dog"},
        {"__key__": "b", "png": encoded(2)},
        {"__key__": "c", "png": encoded(3), "cls": b" 7 "},
        {"__key__": "d", "png": encoded(4), "cls": b"\n"},
    )
    labels = load("webdataset", root=root).sealed_labels
    assert labels.names == ("7", "dog")
    assert labels.values.tolist() == [1, -1, 0, -1]
    assert load("webdataset", root=root, label_key="txt").sealed_labels is None


def test_labels_may_be_a_field_of_the_json(load, tmp_path: Path):
    contents = (b'{"label": 5, "name": "dog"}', b'{"label": 2, "name": "cat"}', b'{"name": null}', b"[]")
    samples = [{"__key__": str(i), "png": encoded(i), "json": content} for i, content in enumerate(contents)]
    root = write_shard(tmp_path / "a.tar", *samples)
    numbers = load("webdataset", root=root, label_key="json.label").sealed_labels
    assert (numbers.names, numbers.values.tolist()) == (("2", "5"), [1, 0, -1, -1])
    names = load("webdataset", root=root, label_key="json.name").sealed_labels
    assert (names.names, names.values.tolist()) == (("cat", "dog"), [1, 0, -1, -1])
    assert load("webdataset", root=root).sealed_labels is None


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("json.label", b'{"label": [1]}'),
        ("json.label", b'{"label": 1.5}'),
        ("json.label", b'{"label": true}'),
        ("json.label", b'{"label"'),
        ("json.label", b"[" * 100_000),
        ("json", b"\xff\xfe"),
        ("json", b"1" * (2**20 + 1)),
    ],
)
def test_a_label_that_cannot_be_read_is_refused_and_can_be_done_without(load, tmp_path: Path, key, content):
    root = write_shard(tmp_path / "a.tar", {"__key__": "x", "png": encoded(1), "json": content})
    with pytest.raises(UserError, match=r"a\.tar: the label of x cannot be read .*data\.labels=none") as error:
        load("webdataset", root=root, label_key=key)
    assert "\n" not in str(error.value)
    assert len(load("webdataset", root=root, label_key=key, labels="none")) == 1


def test_shards_without_images_are_refused(load, tmp_path: Path):
    path = write_tar(tmp_path / "a.tar", ("a.txt", b"text"), ("b.cls", b"1"))
    with pytest.raises(UserError, match=r"a\.tar has no sample with an image"):
        load("webdataset", root=path)


@pytest.mark.parametrize("root", [None, "nowhere", "empty"])
def test_a_root_without_shards_is_answered_with_what_is_looked_for(load, tmp_path: Path, root):
    (tmp_path / "empty").mkdir()
    write_tar(tmp_path / "empty" / ".hidden" / "a.tar", ("a.png", encoded(1)))
    with pytest.raises(UserError, match=r"data\.root.*\*\.tar"):
        load("webdataset", **({} if root is None else {"root": tmp_path / root}))


def test_the_second_load_decodes_nothing_and_a_changed_shard_is_read_again(load, tmp_path: Path, monkeypatch):
    path = write_shard(tmp_path / "a.tar", {"__key__": "a", "png": encoded(1)})
    first = load("webdataset", root=path, image_size=8)
    with monkeypatch.context() as patch:
        patch.setattr("clusterlab.data.sources.webdataset.decode", None)
        assert np.array_equal(load("webdataset", root=path, image_size=8).pixels, first.pixels)
    write_shard(path, {"__key__": "a", "png": encoded(2)})
    assert np.array_equal(load("webdataset", root=path, image_size=8).pixels[0], decoded(tmp_path, encoded(2)))


@pytest.mark.parametrize("root", ["train-{000000..000001}.tar", "train-000000.tar"])
def test_without_the_library_one_line_says_what_to_install(load, shards: Path, monkeypatch, root):
    for name in [name for name in sys.modules if name.split(".")[0] == "webdataset"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(UserError, match=r"needs the library webdataset: pip install 'clusterlab\[webdataset\]'$"):
        load("webdataset", root=f"{shards}/{root}")
