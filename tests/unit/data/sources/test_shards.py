"""What a tar file may do to its reader: names, links, damage."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from shard_files import decoded, encoded, write_tar

from clusterlab.data.decode import UnreadableImageError
from clusterlab.data.shards import Span, decode, splits_of
from clusterlab.errors import UserError


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train-000", "test-000"], ["train", "test"]),
        (["train/000", "val/000"], ["train", "test"]),
        (["cifar10-train-0", "cifar10-validation-0"], ["train", "test"]),
        (["train/test-0", "train/train-0"], ["test", "train"]),
        (["Training_0", "VAL.0", "unlabeled0"], ["train", "test", "unlabeled"]),
        (["train2017-0", "val2017-0"], ["train", "test"]),
        (["trains-0", "test-0"], ["train", "train"]),
        (["train-0", "000"], ["train", "train"]),
        (["unlabeled-0"], ["train"]),
    ],
)
def test_splits_are_words_in_the_path_of_every_shard(names, splits):
    assert splits_of(names) == splits


def test_metadata_and_hidden_files_are_passed_over(load, tmp_path: Path):
    root = write_tar(
        tmp_path / "a.tar", ("__meta__/x.png", encoded(1)), ("d/._y.png", encoded(2)), ("d/y.png", encoded(3))
    )
    images = load("webdataset", root=root)
    assert (images.ids, images.unreadable) == (("d/y",), ())


@pytest.mark.parametrize(
    "members", [("a.png", "b.png", "a.png"), ("a.png", "a.cls", "b.png", "a.jpg", "a.cls"), ("a.png", "a.PNG")]
)
def test_a_key_that_stands_twice_in_a_shard_is_refused(load, tmp_path: Path, members):
    path = write_tar(tmp_path / "root" / "a.tar", *((name, encoded(1)) for name in members))
    with pytest.raises(UserError, match=r"2 samples have the key .*a: |duplicate file name") as error:
        load("webdataset", root=path, labels="none")
    assert "\n" not in str(error.value)


def test_names_that_point_elsewhere_are_ids_and_links_are_left_out(load, tmp_path: Path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(encoded(9))
    names = ("../../evil.png", "/etc/evil.png", "a/../b.png", os_name := "caf\udce9.png")
    assert os_name.encode("utf-8", "surrogateescape") == b"caf\xe9.png"
    root = write_tar(
        tmp_path / "in" / "a.tar",
        *((name, encoded(i)) for i, name in enumerate(names)),
        ("link.png", str(secret)),
        ("d/link.png", "../../secret.png"),
    )
    before = sorted(tmp_path.rglob("*"))
    images = load("webdataset", root=root, image_size=8)
    assert images.ids == ("../../evil", "/etc/evil", "a/../b", "caf\\xe9")
    assert np.array_equal(images.pixels, [decoded(tmp_path, encoded(i)) for i in range(4)])
    assert images.unreadable == (("a/link.png", "a link or a device"), ("a/d/link.png", "a link or a device"))
    stages = tmp_path / "stages"
    made = [path for path in sorted(tmp_path.rglob("*")) if path != stages and stages not in path.parents]
    assert made == sorted([*before, tmp_path / "one"])


def test_broken_images_are_left_out_one_by_one(load, tmp_path: Path):
    root = write_tar(tmp_path / "a.tar", ("a.png", encoded(1)), ("b.png", b"no image"), ("c.jpg", b""))
    images = load("webdataset", root=root)
    assert images.ids == ("a",)
    assert [name for name, _ in images.unreadable] == ["b", "c"]


def test_a_shard_that_is_gone_or_shorter_makes_its_images_unreadable(tmp_path: Path):
    path = write_tar(tmp_path / "a.tar", ("a.png", encoded(1)))
    span = Span(512, len(encoded(1)))
    assert np.array_equal(decode(path, span, 8), decoded(tmp_path, encoded(1)))
    with path.open("r+b") as file:
        file.truncate(600)
    with pytest.raises(UnreadableImageError, match="shorter"):
        decode(path, span, 8)
    path.unlink()
    with pytest.raises(UnreadableImageError, match="No such file"):
        decode(path, span, 8)


def negative_size() -> bytes:
    """A header whose size sends the reader back to itself."""
    header = bytearray(tarfile.TarInfo("a.png").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xfc\x00"
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(b" " * 8) + sum(header[156:]))
    return bytes(header) * 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a tar file, whatever its name says" * 50,
        b"\x1f\x8b\x08" + bytes(2000),
        negative_size(),
        tarfile.TarInfo("a.png").tobuf()[:300],
    ],
    ids=["empty", "text", "gzip", "backwards", "half a header"],
)
def test_a_shard_that_is_damaged_or_compressed_is_named(load, tmp_path: Path, content):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "bad.tar").write_bytes(content)
    with pytest.raises(UserError, match=r"the shard .*bad\.tar cannot be read as a plain tar file of samples") as error:
        load("webdataset", root=tmp_path / "root")
    assert "\n" not in str(error.value)


def test_a_shard_that_was_cut_off_is_named(load, shards: Path):
    path = shards / "train-000000.tar"
    with path.open("r+b") as file:
        file.truncate(1200)
    with pytest.raises(UserError, match=r"train-000000\.tar cannot be read .*: copy it again"):
        load("webdataset", root=shards)
