"""The decode-once store: every image is decoded by one run, and read as plain bytes by all later ones.

A store is a folder `images-<key>` with

    images.npy      uint8, n × c × y × x, the images that could be read, in order
    manifest.json   their ids and splits, (id, reason) of those that could not, checksums, the fingerprint

The key stands for the images' ids, splits and stamps (size, time of change, permissions), their decoded
size and `DECODE_VERSION`: another selection or a changed file is another store. A store is written under a
temporary name, synced and renamed, so what has its final name is whole. Two jobs that want the same one: one
decodes, the other waits.

What is read is checked. In memory: the sha256 of all pixels. As a memory map, where that would mean to read
it all: the file's length, and the sha256 of up to 64 images spread evenly over it.
"""

import errno
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import UInt8

from clusterlab.data.decode import DECODE_VERSION, UnreadableImageError, quiet_pillow
from clusterlab.data.images import Split
from clusterlab.data.originals import Originals
from clusterlab.data.parallel import InOrder
from clusterlab.durable import sync_folder
from clusterlab.errors import UserError
from clusterlab.progress import track

_log = logging.getLogger(__name__)

PIXELS = "images.npy"
MANIFEST = "manifest.json"
NUM_SAMPLED = 64
GIB = 2**30


class DamagedStoreError(Exception):
    """A folder with a finished store's name whose content is not what was written."""


@dataclass(frozen=True, eq=False)
class Stored:
    """The images that could be decoded, and what the manifest says of them."""

    pixels: UInt8[np.ndarray, "n c y x"]
    """An array in memory, or a read-only memory map."""
    ids: tuple[str, ...]
    splits: tuple[Split, ...]
    unreadable: tuple[tuple[str, str], ...]
    fingerprint: str


def decode_once(originals: Originals, chosen: Sequence[int], *, store_dir: Path, memory_limit: float) -> Stored:
    """Return the images at the ascending positions `chosen`, decoded now or by an earlier run.

    They are an array in memory up to `memory_limit` GiB, and a memory map beyond.

    Raises:
        UserError: not one of them can be decoded, or the disk is full.
    """
    folder = store_dir / f"images-{_key(originals, chosen)}"
    with suppress(DamagedStoreError):
        if (found := _load(folder, memory_limit)) is not None:
            return found
    store_dir.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        try:
            found = _load(folder, memory_limit)  # by the job that this one waited for
        except DamagedStoreError as error:
            _log.warning("%s; the images are decoded again", error)
            found = None
        if found is None:
            _write(originals, chosen, folder)
            found = _load(folder, memory_limit)
    assert found is not None
    return found


def _key(originals: Originals, chosen: Sequence[int]) -> str:
    digest = hashlib.sha256(json.dumps([DECODE_VERSION, originals.shape]).encode())
    for i in chosen:
        digest.update(json.dumps([originals.ids[i], originals.splits[i], originals.stamps[i]]).encode())
    return digest.hexdigest()[:12]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.info("another process decodes the same images: waiting for %s", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _write(originals: Originals, chosen: Sequence[int], folder: Path) -> None:
    temporary = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    start = time.monotonic()
    _log.info("%s: decoding %d images once, into %s", originals.where, len(chosen), folder)
    try:
        originals.check()
        with quiet_pillow():
            manifest = _decode(originals, chosen, temporary / PIXELS)
        (temporary / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        sync_folder(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            size = len(chosen) * int(np.prod(originals.shape)) / GIB
            raise UserError(
                f"the disk is full: the decoded images need {size:.2f} GiB below {folder.parent}; make room, "
                "set stage_dir=DIR on another disk, or lower data.image_size or data.limit"
            ) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _log.info("%s: decoded %d images in %.1f s", originals.where, len(manifest["ids"]), time.monotonic() - start)


def _decode(originals: Originals, chosen: Sequence[int], path: Path) -> dict[str, Any]:
    """Write the pixels to `path` as they come and return the manifest."""
    kept: list[int] = []
    unreadable: list[tuple[str, str]] = []
    sha256 = hashlib.sha256()
    with path.open("wb") as file:
        _write_header(file, len(chosen), originals.shape)
        results = InOrder(originals.read, chosen)
        for i, result in zip(chosen, track(results, "decoding", unit="image"), strict=True):
            if isinstance(result, UnreadableImageError):
                unreadable.append((originals.ids[i], str(result)))
                continue
            file.write(result.data)
            sha256.update(result.data)
            kept.append(i)
        # NumPy pads the header so that the first axis may change without moving the data.
        file.seek(0)
        _write_header(file, len(kept), originals.shape)
    if not kept:
        first, reason = unreadable[0]
        raise UserError(
            f"none of the {len(chosen)} images of {originals.where} can be read; the first, {first}: {reason}"
        )
    ids = [originals.ids[i] for i in kept]
    splits = [originals.splits[i] for i in kept]
    shape = [len(kept), *originals.shape]
    return {
        "decode_version": DECODE_VERSION,
        "shape": shape,
        "ids": ids,
        "splits": splits,
        "unreadable": unreadable,
        "pixels_sha256": sha256.hexdigest(),
        "sample_sha256": _sample_sha256(np.load(path, mmap_mode="r", allow_pickle=False)),
        "fingerprint": _fingerprint(ids, splits, shape, sha256.hexdigest()),
    }


def _write_header(file: Any, count: int, shape: tuple[int, int, int]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)})


def _load(folder: Path, memory_limit: float) -> Stored | None:
    """Return the store in `folder`, or None if there is none.

    Raises:
        DamagedStoreError: it is not what was written.
    """
    if not folder.is_dir():
        return None
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        mapped = np.load(folder / PIXELS, mmap_mode="r", allow_pickle=False)
        told = [manifest[name] for name in ("ids", "splits", "shape", "pixels_sha256")]
        whole = (
            manifest["fingerprint"] == _fingerprint(*told)
            and list(mapped.shape) == manifest["shape"]
            and mapped.dtype == np.uint8
            and mapped.offset + mapped.nbytes == (folder / PIXELS).stat().st_size
        )
        pixels: UInt8[np.ndarray, "n c y x"] = mapped
        if whole and mapped.nbytes <= memory_limit * GIB:
            pixels = np.array(mapped)
            whole = hashlib.sha256(pixels.data).hexdigest() == manifest["pixels_sha256"]
        elif whole:
            whole = _sample_sha256(mapped) == manifest["sample_sha256"]
        unreadable = tuple((str(name), str(reason)) for name, reason in manifest["unreadable"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedStoreError(f"the store {folder} is damaged ({error})") from error
    if not whole:
        raise DamagedStoreError(f"the store {folder} is damaged (its pixels or its manifest are not what was written)")
    return Stored(
        pixels=pixels,
        ids=tuple(manifest["ids"]),
        splits=cast(tuple[Split, ...], tuple(manifest["splits"])),
        unreadable=unreadable,
        fingerprint=manifest["fingerprint"],
    )


def _fingerprint(ids: Sequence[str], splits: Sequence[Split], shape: Sequence[int], pixels_sha256: str) -> str:
    return hashlib.sha256(json.dumps([list(ids), list(splits), list(shape), pixels_sha256]).encode()).hexdigest()


def _sample_sha256(pixels: UInt8[np.ndarray, "n c y x"]) -> str:
    rows = np.unique(np.linspace(0, len(pixels) - 1, NUM_SAMPLED).astype(np.int64))
    return hashlib.sha256(np.ascontiguousarray(pixels[rows]).data).hexdigest()
