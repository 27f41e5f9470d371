"""Bad input: files of arrays."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from composed import composed, plain_line_of

import clusterlab.data.sources.arrays as arrays_source

WORDS = (
    "data=arrays", "data.root=a.npz", "data.image_size=16", "data.views.size=16", "backbone=small",
    "backbone.width=4", "trainer.max_epochs=1", "num_clusters=3",
    "method.stages=[features,embeddings,baseline,neighbours,head]",
)  # fmt: skip
N = 12
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 16, 16, 3), dtype=np.uint8)
NUMBERS = np.arange(N)
NOT_NUMBERS = np.where(IMAGES == 0, np.nan, np.where(IMAGES == 1, np.inf, IMAGES)).astype(np.float32)
WHOLE = f"it must be {N} whole numbers"
PLACE = f"{os.sep}a.npz"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def end_of(*words: str) -> str:
    return plain_line_of(composed("scan", *WORDS, *words))


def packed(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, text in files.items():
            file.writestr(name, text)
    return content.getvalue()


def saved(images: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, images)
    return content.getvalue()


def encrypted(content: bytes) -> bytes:
    """Set the bit that says so, in the header of the file and in the directory."""
    changed = bytearray(content)
    changed[6] |= 1
    changed[content.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


LABELS = {
    "with gaps": (NUMBERS * 7, ""),
    "far away": (NUMBERS + 2**62, ""),
    "negative": (-NUMBERS, ""),
    "all unknown": (np.full(N, -1), ""),
    "all one": (np.zeros(N, np.uint8), ""),
    "beyond 63 bits": (np.full(N, 2**64 - 1, np.uint64), "go up to 18446744073709551615: number the classes 0, 1, …"),
    "fractions": (NUMBERS / 2, WHOLE),
    "NaN": (np.full(N, np.nan), WHOLE),
    "too few": (NUMBERS[:3], WHOLE),
    "too many": (np.arange(N + 1), WHOLE),
    "one-hot": (np.eye(N, dtype=int), WHOLE),
    "one number": (np.array(3), WHOLE),
    "texts": (np.array([f"class {i}" for i in range(N)]), WHOLE),
    "objects": (np.array([None] * N), "without Python objects"),
    "yes and no": (NUMBERS > 5, WHOLE),
    "times": (NUMBERS.astype("m8[s]"), WHOLE),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("names", [("images", "labels"), ("x_train", "y_train")])
def test_labels_of_every_kind_are_taken_or_refused_in_a_line(names, kind):
    """Labels with gaps, out of range, negative, of another type or number: taken, or refused with what they must be"""
    labels, said = LABELS[kind]
    np.savez("a.npz", **dict(zip(names, (IMAGES, labels), strict=True)))
    line = end_of()
    assert bool(said) == bool(line), line
    assert said in line
    assert not said or names[1] in line or kind == "objects"


SHAPES = {
    (N, 16, 16): "",
    (N, 1, 5000): "",
    (N, 2, 2): "",
    (N, 1, 1): "may be read in two ways",
    (N, 5000, 1): "may be read in two ways",
    (N, 16, 16, 4): "have no axis of 1 or 3 channels",
    (0, 16, 16): "the images are 0×16×16",
    (N, 0, 16): "save them as n×y×x",
    (N, 16): "save them as n×y×x",
    (N,): "save them as n×y×x",
    (): "the images are one number: save them as",
    (N, 2, 16, 16, 3): "save them as n×y×x",
}
TWO_ARE_ONE = {(): (1,)}
"""Where two parts are put together."""


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["npy", "npz", "parts"])
def test_images_of_every_shape_are_clustered_or_refused_in_a_line(shape, kind):
    """Arrays of 0 to 5 axes, empty ones, images of 1 × 5000 pixels: clusters, or what shape they must have"""
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    if kind == "npy":
        np.save("a.npy", images)
    else:
        np.savez("a.npz", **({"images": images} if kind == "npz" else {"x_train": images}))
    line = end_of(f"data.root=a.{'npy' if kind == 'npy' else 'npz'}")
    said = SHAPES[shape]
    assert bool(said) == bool(line), line
    assert (said if shape or kind != "parts" else "the images are 1: save them as") in line


@pytest.mark.parametrize("dtype", ["f4", "f2", "c8", "i1", "u2", "?", "U3", "S2", "M8[s]", "V4"])
def test_images_of_another_dtype_are_refused_in_a_line(dtype):
    """Images as floating point with NaN and infinity, as wider numbers, texts or times: what to save them as"""
    images = NOT_NUMBERS if dtype == "f4" else np.zeros(IMAGES.shape, dtype)
    np.savez("a.npz", images=images)
    line = end_of()
    assert f"the images are {images.dtype}, not uint8" in line
    assert "save images.round().astype('uint8')" in line


@pytest.mark.parametrize(
    "splits",
    [np.full(N, "val"), np.full(N, b"\xff"), np.full((N, 1), "train"), np.array("train"), NUMBERS, NUMBERS > 5],
)
def test_splits_of_every_kind_are_refused_in_a_line(splits):
    """Splits of other names, bytes, types and shapes: refused with what they must be"""
    np.savez("a.npz", images=IMAGES, splits=splits)
    assert f"must be {N} times 'train' or 'test'" in end_of()


FILES = {
    "empty": b"",
    "text": b"not an array\n",
    "an image": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "cut": packed(**{"images.npy": saved(IMAGES)})[:-300],
    "a cut array": saved(IMAGES)[:-300],
    "a cut header": saved(IMAGES)[:40],
    "a header of brackets": saved(IMAGES)[:10] + b"(" * 118,
    "a header without an end": saved(IMAGES)[:10] + b"{'descr': 'x".ljust(118),
    "a version to come": b"\x93NUMPY\x09\x09" + saved(IMAGES)[8:],
    "encrypted": encrypted(packed(**{"images.npy": saved(IMAGES)})),
    "no array in it": packed(images=b"text"),
    "no array under its name": packed(**{"x_train.npy": b"text"}),
    "no array as labels": packed(**{"images.npy": saved(IMAGES), "labels": b"text"}),
    "nothing in it": packed(),
    "a name of two lines": packed(**{"pho\ntos.npy": saved(IMAGES)}),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_holds_no_arrays_is_refused_in_a_line(kind):
    """Empty, cut, damaged or encrypted files, text, an image, another archive: the file, and what is wrong with it"""
    Path("a.npz").write_bytes(FILES[kind])
    line = end_of()
    assert PLACE in line
    assert "cannot be read as an .npy or .npz file" in line or "data=arrays looks for images" in line


def test_a_file_that_vanishes_or_changes_while_it_is_read_does_no_harm(monkeypatch):
    """A file removed, or replaced by another, after it was read: clusters of what was read; the next run sees it"""
    np.savez("a.npz", images=IMAGES)
    other = 255 - IMAGES
    looked = arrays_source.channels_last

    def change(images, where):
        if len(images) == N:
            np.savez("a.npz", images=other[:-1])
        else:
            Path("a.npz").unlink()
        return looked(images, where)

    monkeypatch.setattr(arrays_source, "channels_last", change)
    for count in (N, N - 1):
        assert not end_of()
        assert Path("run", "assignments.csv").read_text(encoding="utf-8").count("\n") == count + 1
    assert "data.root=a.npz does not exist" in end_of()


def test_a_file_that_is_cut_in_place_while_it_is_decoded_is_named_in_a_line(monkeypatch):
    """An .npy file that is cut in place while it is decoded: the file, and the first image that is missing"""
    many = np.concatenate([IMAGES] * 50)  # several pages of memory, as a map would have them
    np.save("a.npy", many)
    start = Path("a.npy").stat().st_size - many.nbytes
    decoded = arrays_source.square_array

    def cut(image, size):
        os.truncate("a.npy", start + 100 * many[0].nbytes)
        return decoded(image, size)

    with monkeypatch.context() as patch:
        patch.setattr(arrays_source, "square_array", cut)
        assert f"{os.sep}a.npy was cut short, and image " in end_of("data.root=a.npy")
    np.save("a.npy", many)
    assert not end_of("data.root=a.npy")
