"""Images that are already an array: an .npy file, or an .npz file with its labels and splits.

    .npy    images: uint8, n×y×x, n×y×x×c or n×c×y×x, c 1 or 3
    .npz    images, and perhaps labels (n, whole numbers, −1 for not known) and splits (n, 'train' or 'test');
            or x_train, and perhaps x_test, y_train and y_test

An .npy file is read image by image as it is decoded. An .npz file is compressed and comes into memory whole, as does an
.npy file in Fortran order, in which the bytes of an image lie all over the file.
"""

import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Integer, UInt8
from numpy.lib.npyio import NpzFile
from pydantic import PositiveInt

from clusterlab.data.array_layout import channels_last
from clusterlab.data.classes import from_numbers
from clusterlab.data.decode import UnreadableImageError, square_array
from clusterlab.data.images import ImageSet, Split
from clusterlab.data.loading import existing_root, load_images
from clusterlab.data.originals import Originals, split_sizes, stamp_of
from clusterlab.data.rows_on_disk import RowsOnDisk
from clusterlab.data.sources.base import Source, SourceSettings
from clusterlab.errors import UserError

ZIP = b"PK"
LABELS = ("labels", "y_train", "y_test")
BROKEN = (
    OSError, ValueError, EOFError, MemoryError, zlib.error, zipfile.BadZipFile,
    tokenize.TokenError,  # a damaged header
    RuntimeError,  # an encrypted file, or one packed in a way that Python does not know
)  # fmt: skip
"""What reading a file of arrays raises where it is none, or a damaged one."""
UNKNOWN = -1
GIB = 2**30


class ArraysSettings(SourceSettings):
    """Lets the stored size be the array's own."""

    image_size: PositiveInt | None  # type: ignore[assignment]  # wider than the base's, and only read
    """Side of the square images that are stored; null: the short side of the array's images."""


@dataclass(frozen=True, eq=False)
class _Content:
    images: np.ndarray
    """In memory, or a memory map that is looked at for its shape alone."""
    labels: Integer[np.ndarray, " n"] | None
    splits: tuple[Split, ...]


class Arrays(Source):
    """The images of one .npy or .npz file in their order; nothing is ever unpickled."""

    Settings = ArraysSettings
    settings: ArraysSettings

    def load(self, store_dir: Path) -> ImageSet:
        """Bring the images to their size and layout, or take them from the store."""
        path = existing_root(self.settings, "an .npy or .npz file of uint8 images").resolve()
        if path.is_dir():
            raise UserError(
                f"data.root={path} is a folder: data=arrays reads one .npy or .npz file; "
                "for a folder of image files use data=folder"
            )
        # Before it is read: a file that changes meanwhile is another one to the next run.
        # The whole path: arrays of one shape have one size, and the time of change alone may agree.
        stamp = stamp_of(path.stat(), str(path))
        content = _read(path, with_labels=self.settings.labels == "auto", limit=self.settings.memory_limit)
        images = channels_last(content.images, str(path))
        _, y, x, c = images.shape
        size = self.settings.image_size or min(y, x)
        one = _reader(content.images, images)
        originals = Originals(
            where=str(path),
            ids=tuple(str(i) for i in range(len(images))),
            splits=content.splits,
            split_rule="it needs x_test or splits in an .npz file",
            stamps=(stamp,) * len(images),
            shape=(c, size, size),
            read=lambda i: square_array(one(i), size),
            labels=None if content.labels is None else from_numbers(content.labels),
        )
        return load_images(originals, self.settings, store_dir)


def _reader(stored: np.ndarray, images: UInt8[np.ndarray, "n y x c"]) -> Callable[[int], UInt8[np.ndarray, "y x c"]]:
    """Return what gives one of `images`, a view of those `stored`; of a map it is read from the file."""
    if not isinstance(stored, np.memmap):
        return lambda i: images[i]
    rows = RowsOnDisk(stored, remedy="write the file again, and start the same command again")
    shape, strides = images.shape[1:], images.strides[1:]

    def read(i: int) -> UInt8[np.ndarray, "y x c"]:
        try:
            return np.ndarray(shape, np.uint8, rows[i], strides=strides)
        except OSError as error:
            raise UnreadableImageError((error.strerror or str(error)).lower()) from error

    return read


def _read(path: Path, *, with_labels: bool, limit: float) -> _Content:
    known = ("images", "splits", "x_train", "x_test") + (LABELS if with_labels else ())
    try:
        with path.open("rb") as file:
            if file.read(2) != ZIP:
                images = np.load(path, mmap_mode="r", allow_pickle=False)
                if not images.flags.c_contiguous:
                    _see_room(images.nbytes, path, limit)
                    images = np.load(path, allow_pickle=False)
                return _Content(images, None, split_sizes(train=_count(images)))
            file.seek(0)
            # A damaged archive that numpy opens by its name it leaves open.
            with np.load(file, allow_pickle=False) as loaded:
                names = loaded.files
                _see_room(_unpacked(loaded, known), path, limit)
                arrays = {name: _array(loaded, name) for name in names if name in known}
    except BROKEN as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} cannot be read as an .npy or .npz file ({reason}): save it with numpy.save or "
            "numpy.savez, without Python objects in it"
        ) from error
    if "images" in arrays:
        return _one_set(arrays, path)
    if "x_train" in arrays:
        return _two_sets(arrays, path)
    raise UserError(
        f"{path} has the arrays {' '.join(', '.join(names).split()) or '(none)'}: data=arrays looks for images "
        "(and labels, splits) or x_train (and x_test, y_train, y_test)"
    )


def _array(loaded: NpzFile, name: str) -> np.ndarray:
    content = loaded[name]
    if not isinstance(content, np.ndarray):  # bytes, where numpy does not find the header of an array
        raise ValueError(f"{name} in it is no array")
    return content


def _unpacked(loaded: NpzFile, known: Sequence[str]) -> int:
    """Return how many bytes the arrays `known` are, of which zeros take a thousandth in the file."""
    assert loaded.zip is not None
    sizes = {info.filename.removesuffix(".npy"): info.file_size for info in loaded.zip.infolist()}
    return sum(size for name, size in sizes.items() if name in known)


def _see_room(size: int, path: Path, limit: float) -> None:
    if size > limit * GIB:
        raise UserError(
            f"{path} holds {size / GIB:.3g} GiB, more than data.memory_limit={limit:g}: set it higher if that is "
            "meant, or save the images with numpy.save in C order, which is read image by image"
        )


def _one_set(arrays: Mapping[str, np.ndarray], path: Path) -> _Content:
    images = arrays["images"]
    count = _count(images)
    labels = _labels(arrays["labels"], "labels", count, path) if "labels" in arrays else None
    splits = _splits(arrays["splits"], count, path) if "splits" in arrays else split_sizes(train=count)
    return _Content(images, labels, splits)


def _two_sets(arrays: Mapping[str, np.ndarray], path: Path) -> _Content:
    train = np.atleast_1d(arrays["x_train"])
    test = np.atleast_1d(arrays.get("x_test", train[:0]))
    if (train.shape[1:], train.dtype) != (test.shape[1:], test.dtype):
        raise UserError(f"{path}: x_train and x_test differ in shape or dtype: save them alike")
    counts = {"y_train": len(train), "y_test": len(test)}
    labels = [
        _labels(arrays[name], name, count, path) if name in arrays else np.full(count, UNKNOWN)
        for name, count in counts.items()
    ]
    return _Content(
        images=np.concatenate([train, test]),
        labels=np.concatenate(labels) if counts.keys() & arrays.keys() else None,
        splits=split_sizes(train=len(train), test=len(test)),
    )


def _count(images: np.ndarray) -> int:
    return len(images) if images.ndim else 0


def _labels(values: np.ndarray, name: str, count: int, path: Path) -> Integer[np.ndarray, " n"]:
    if values.shape == (count, 1):  # as Keras has them
        values = values[:, 0]
    if values.shape != (count,) or values.dtype.kind not in "iu":
        raise UserError(
            f"{path}: {name} is {values.dtype} of shape {values.shape}: it must be {count} whole numbers, "
            "one per image, or leave labels aside with data.labels=none"
        )
    if (values > np.iinfo(np.int64).max).any():
        raise UserError(f"{path}: {name} go up to {values.max()}: number the classes 0, 1, …, or set data.labels=none")
    return values.astype(np.int64)


def _splits(values: np.ndarray, count: int, path: Path) -> tuple[Split, ...]:
    text = np.char.decode(values, "latin1") if values.dtype.kind == "S" else values.astype(str)
    names = tuple(text.tolist())
    if values.shape != (count,) or not set(names) <= {"train", "test"}:
        raise UserError(
            f"{path}: splits of shape {values.shape} must be {count} times 'train' or 'test', one per image"
        )
    return cast(tuple[Split, ...], names)
