import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest

from clusterlab.data.decode import square_array
from clusterlab.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5, 5), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 5, 5, 3), dtype=np.uint8)


@pytest.fixture
def save(tmp_path: Path):
    """Write an .npy (one array) or an .npz (arrays by name)."""

    def save(images: np.ndarray | None = None, /, **arrays: np.ndarray) -> Path:
        path = tmp_path / ("images.npz" if images is None else "images.npy")
        if images is None:
            np.savez(path, **arrays)
        else:
            np.save(path, images)
        return path

    return save


def refused(load, path: Path, **changes: object) -> str:
    with pytest.raises(UserError) as error:
        load("arrays", root=path, **changes)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (COLOUR, COLOUR.transpose(0, 3, 1, 2)),
        (COLOUR.transpose(0, 3, 1, 2), COLOUR.transpose(0, 3, 1, 2)),
        (np.asfortranarray(COLOUR), COLOUR.transpose(0, 3, 1, 2)),
    ],
    ids=["n y x", "n y x 1", "n 1 y x", "n y x 3", "n 3 y x", "Fortran order"],
)
def test_every_layout_gives_the_same_images_as_they_are_stored(load, save, stored, expected):
    images = load("arrays", root=save(stored))
    assert np.array_equal(images.pixels, expected)
    assert images.ids == tuple("012345")
    assert images.splits == ("train",) * 6
    assert images.sealed_labels is None


def test_images_are_resized_to_the_wanted_side_and_cut_square(load, save):
    assert load("arrays", root=save(COLOUR), image_size=8).pixels.shape == (6, 3, 8, 8)
    wide = np.zeros((2, 4, 8), dtype=np.uint8)
    wide[:, :, 2:6] = 9
    as_stored = load("arrays", root=save(wide))
    assert as_stored.pixels.shape == (2, 1, 4, 4)
    assert (as_stored.pixels == 9).all()


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        ((6, 3, 5, 3), "two ways"),
        ((6, 1, 5, 1), "two ways"),
        ((6, 5, 3), "two ways"),
        ((6, 5, 5, 4), "no axis of 1 or 3"),
        ((5, 5), "save them as"),
        ((6, 5, 5, 3, 1), "save them as"),
        ((0, 5, 5), "save them as"),
        ((), "save them as"),
    ],
)
def test_a_shape_that_does_not_tell_its_axes_is_refused(load, save, shape, problem):
    assert problem in refused(load, save(np.zeros(shape, dtype=np.uint8)))
    assert problem in refused(load, save(images=np.zeros(shape, dtype=np.uint8)))


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "uint16"])
def test_another_dtype_is_refused_with_what_to_do(load, save, dtype):
    message = refused(load, save(GREY.astype(dtype)))
    assert f"{dtype}, not uint8" in message
    assert "astype('uint8')" in message


def test_an_npz_file_may_have_labels_and_splits(load, save):
    splits = np.array(["train"] * 4 + ["test"] * 2)
    path = save(images=COLOUR, labels=np.array([7, 3, 7, -1, 3, 3]), splits=splits)
    images = load("arrays", root=path, protocol="split")
    assert images.splits == ("train",) * 4 + ("test",) * 2
    assert images.sealed_labels is not None
    assert images.sealed_labels.names == ("3", "7")
    assert images.sealed_labels.values.tolist() == [1, 0, 1, -1, 0, 0]


def test_splits_may_be_bytes(load, save):
    path = save(images=GREY, splits=np.array([b"test"] + [b"train"] * 5))
    assert load("arrays", root=path).splits == ("test",) + ("train",) * 5


def test_a_training_and_a_test_part_are_joined(load, save):
    path = save(x_train=GREY[:4], x_test=GREY[4:], y_train=np.array([[1], [0], [1], [0]]), y_test=np.array([1, 1]))
    images = load("arrays", root=path, protocol="split")
    assert np.array_equal(images.pixels[:, 0], GREY)
    assert images.splits == ("train",) * 4 + ("test",) * 2
    assert images.sealed_labels.values.tolist() == [1, 0, 1, 0, 1, 1]


def test_labels_of_one_part_leave_the_other_unknown(load, save):
    path = save(x_train=GREY[:4], x_test=GREY[4:], y_train=np.array([1, 0, 1, 0]))
    assert load("arrays", root=path).sealed_labels.values.tolist() == [1, 0, 1, 0, -1, -1]
    assert load("arrays", root=save(x_train=GREY)).sealed_labels is None
    assert load("arrays", root=save(x_train=GREY)).splits == ("train",) * 6


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"photos": GREY}, "has the arrays photos: data=arrays looks for images"),
        ({}, r"has the arrays \(none\)"),
        (
            {"images": GREY, "labels": np.zeros(5, dtype=int)},
            r"labels is int64 of shape \(5,\): it must be 6 whole",
        ),
        ({"images": GREY, "labels": np.zeros(6)}, "labels is float64"),
        ({"images": GREY, "splits": np.array(["train"] * 5 + ["val"])}, "must be 6 times 'train' or 'test'"),
        ({"images": GREY, "splits": np.array(["train"] * 5)}, "must be 6 times 'train' or 'test'"),
        ({"x_train": GREY, "x_test": COLOUR}, "x_train and x_test differ"),
        ({"x_train": GREY, "y_train": np.zeros((6, 2), dtype=int)}, "y_train is int64"),
        ({"images": GREY, "labels": np.array(["cat"] * 6, dtype=object)}, "without Python objects"),
    ],
)
def test_an_npz_file_that_does_not_fit_together_is_refused(load, save, arrays, problem):
    assert re.search(problem, refused(load, save(**arrays)))


def test_labels_that_are_not_wanted_are_not_even_read(load, save):
    path = save(images=GREY, labels=np.array(["cat"] * 6, dtype=object))
    images = load("arrays", root=path, labels="none")
    assert images.sealed_labels is None
    whole = load("arrays", root=save(images=GREY, labels=np.arange(6)))
    assert whole.fingerprint == images.fingerprint


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def test_nothing_is_ever_unpickled(load, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "objects.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "objects.npz", images=np.array([Bomb()], dtype=object))
    (tmp_path / "text.npy").write_text("not an array")
    (tmp_path / "empty.npz").touch()
    for name in ("objects.npy", "objects.npz", "text.npy", "empty.npz"):
        assert "cannot be read as an .npy or .npz file" in refused(load, tmp_path / name)
    assert not (tmp_path / "unpickled").exists()


def test_a_folder_is_refused_with_the_source_that_takes_it(load, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    assert "data=folder" in refused(load, tmp_path / "photos")


def test_protocol_split_needs_a_test_part(load, save):
    with pytest.raises(UserError, match=r"no test split \(it needs x_test or splits in an \.npz file\)"):
        load("arrays", root=save(GREY), protocol="split")


def test_the_second_load_converts_nothing_and_a_changed_file_is_read_again(load, save, monkeypatch):
    path = save(COLOUR)
    first = load("arrays", root=path)
    with monkeypatch.context() as patch:
        patch.setattr("clusterlab.data.sources.arrays.square_array", None)
        assert np.array_equal(load("arrays", root=path).pixels, first.pixels)
    np.save(path, COLOUR[::-1])
    assert np.array_equal(load("arrays", root=path).pixels, first.pixels[::-1])


MANY = np.random.default_rng(1).integers(0, 256, (600, 5, 6, 3), dtype=np.uint8)
"""Several pages of memory: touching those that a map has lost ends the process."""
KEPT = 100


@pytest.mark.parametrize(
    "stored",
    [MANY, MANY.transpose(0, 3, 1, 2), MANY[..., 0], MANY[..., :1]],
    ids=["n y x 3", "n 3 y x", "n y x", "n y x 1"],
)
def test_a_file_that_is_cut_in_place_while_it_is_decoded_is_one_line(load, save, monkeypatch, stored):
    path = save(stored)
    start = path.stat().st_size - stored.nbytes

    def cut(image: np.ndarray, size: int) -> np.ndarray:
        os.truncate(path, start + KEPT * stored[0].nbytes)
        return square_array(image, size)

    monkeypatch.setattr("clusterlab.data.sources.arrays.square_array", cut)
    line = refused(load, path)
    assert re.search(r"was cut short, and image \d+ is not in it any more: write the file again", line)
    assert "cannot be read as an .npy" in refused(load, path)


def test_images_that_the_disk_does_not_give_are_left_out_with_its_reason(load, save, monkeypatch):
    path = save(COLOUR)
    start, size = path.stat().st_size - COLOUR.nbytes, COLOUR[0].nbytes

    def fail(file: int, into: list[memoryview], position: int) -> int:
        if position == start + 4 * size:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(file, into, position)

    read = os.preadv
    monkeypatch.setattr(os, "preadv", fail)
    images = load("arrays", root=path)
    assert images.unreadable == (("4", "input/output error"),)
    assert np.array_equal(images.pixels, np.delete(COLOUR, 4, axis=0).transpose(0, 3, 1, 2))


def test_a_file_in_fortran_order_comes_into_memory_and_must_have_room_there(load, save):
    path = save(np.asfortranarray(MANY))
    small = load("arrays", root=path, image_size=1, memory_limit=MANY.nbytes / 2**30)
    assert small.pixels.shape == (600, 3, 1, 1)
    assert "save the images with numpy.save in C order" in refused(load, path, memory_limit=(MANY.nbytes - 1) / 2**30)


def test_two_files_of_one_size_and_time_are_told_apart(load, tmp_path: Path):
    for name, content in (("a", GREY), ("b", GREY[::-1])):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "images.npy", content)
        os.utime(tmp_path / name / "images.npy", ns=(1, 1))
    first, second = (load("arrays", root=tmp_path / name / "images.npy") for name in ("a", "b"))
    assert np.array_equal(first.pixels, second.pixels[::-1])


def test_one_mean_serves_every_channel_and_two_do_not(load, save):
    assert load("arrays", root=save(COLOUR), mean=[0.5], std=[0.2]).channels == 3
    with pytest.raises(UserError, match=r"data\.mean=\[0\.5, 0\.5, 0\.5\] has 3 entries for images of 1 channels"):
        load("arrays", root=save(GREY), mean=[0.5] * 3)
