"""The decode-once store: every image is decoded once, and read as plain bytes by all later runs.

A store is a folder `images-<key>` with

    images.npy         uint8, n × c × y × x, the images that could be read, in order
    manifest.parquet   what is known of each, those that could not be read too (`store_manifest`)

The key stands for the images' ids, splits and stamps (size, time of change, permissions), their decoded size and the
versions of decoding and of the store: another selection or a changed file is another store. How it is made, by several
jobs at once and going on after a kill, says `store_build`; what has its final name is whole.

What is read is checked. In memory: the sha256 of every image. Of images that stay on the disk, where that would mean to
read them all: the file's length, and the sha256 of up to 64 spread evenly over it; each when it is first read.
"""

import errno
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import UInt8

from clusterlab import stopping
from clusterlab.data.decode import DECODE_VERSION
from clusterlab.data.images import Split
from clusterlab.data.originals import Originals
from clusterlab.data.rows_on_disk import RowsOnDisk, StoredImages
from clusterlab.data.store_build import PIXELS, PartialStore
from clusterlab.data.store_manifest import MANIFEST, read_manifest
from clusterlab.errors import UserError
from clusterlab.locks import held, remove_left

_log = logging.getLogger(__name__)

STORE_VERSION = 2
"""Raise when the folder's layout changes, or the blocks in which it is made: it is part of every store's key."""
NUM_SAMPLED = 64
ATTEMPTS = 3
"""Of which the first may go on with what an earlier job has left damaged."""
GIB = 2**30
HASHED = 2**12
"""Images of which the key takes in what is known at a time."""


class DamagedStoreError(Exception):
    """A folder with a finished store's name whose content is not what was written."""


@dataclass(frozen=True, eq=False)
class Stored:
    """The images that could be decoded, and what the manifest says of them."""

    pixels: UInt8[np.ndarray, "n c y x"] | StoredImages
    """In memory, or on the disk."""
    ids: tuple[str, ...]
    splits: tuple[Split, ...]
    unreadable: tuple[tuple[str, str], ...]
    fingerprint: str


def decode_once(originals: Originals, chosen: Sequence[int], *, store_dir: Path, memory_limit: float) -> Stored:
    """Return the images at the ascending positions `chosen`, decoded now or by an earlier run.

    They are in memory up to `memory_limit` GiB, and stay on the disk beyond.

    Raises:
        UserError: not one of them can be decoded, or the disk is full.
    """
    folder = store_dir / f"images-{_key(originals, chosen)}"
    lock = folder.with_name(f"{folder.name}.lock")
    with suppress(DamagedStoreError):
        if (found := _load(folder, memory_limit)) is not None:
            remove_left(lock)  # of a job that was killed when it had just made it
            return found
    store_dir.mkdir(parents=True, exist_ok=True)
    partial = PartialStore(originals, chosen, folder)
    for _ in range(ATTEMPTS):
        with _full_disk_said_clearly(partial):
            with held(lock, folder.name):
                _remove_damaged(folder, memory_limit)
                if not folder.exists():
                    partial.prepare()
            partial.decode()
            with held(lock, folder.name):
                partial.finish()
        # There is none if another job found at the same time that it cannot be made; then say so in this one too.
        with suppress(DamagedStoreError):
            if (found := _load(folder, memory_limit)) is not None:
                return found
    raise UserError(
        f"{folder} is not what was written, {ATTEMPTS} times in a row: see to the disk, or set stage_dir=DIR on another"
    )


def _key(originals: Originals, chosen: Sequence[int]) -> str:
    digest = hashlib.sha256(json.dumps([STORE_VERSION, DECODE_VERSION, originals.shape]).encode())
    for start in range(0, len(chosen), HASHED):
        part = chosen[start : start + HASHED]
        known = ([of[i] for i in part] for of in (originals.ids, originals.splits, originals.stamps))
        digest.update(json.dumps(list(known)).encode())
    return digest.hexdigest()[:12]


def _remove_damaged(folder: Path, memory_limit: float) -> None:
    try:
        _load(folder, memory_limit)
    except DamagedStoreError as error:
        stopping.see_to_it()  # a signal may have come in the middle of it
        _log.warning("%s; the images are decoded again", error)
        shutil.rmtree(folder)


@contextmanager
def _full_disk_said_clearly(partial: PartialStore) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        kept = f" (what is decoded so far stays in {partial.folder})" if partial.folder.exists() else ""
        raise UserError(
            f"the disk is full: the decoded images need {partial.nbytes / GIB:.2f} GiB below {partial.whole.parent}; "
            f"make room, set stage_dir=DIR on another disk, or lower data.image_size or data.limit{kept}"
        ) from error


def _load(folder: Path, memory_limit: float) -> Stored | None:
    """Return the store in `folder`, or None if there is none.

    Raises:
        DamagedStoreError: it is not what was written.
    """
    if not folder.is_dir():
        return None
    try:
        manifest = read_manifest(folder / MANIFEST)
        mapped = np.load(folder / PIXELS, mmap_mode="r", allow_pickle=False)
        whole = (
            mapped.shape == (len(manifest.ids), *manifest.shape)
            and mapped.dtype == np.uint8
            and mapped.offset + mapped.nbytes == (folder / PIXELS).stat().st_size
        )
        pixels: UInt8[np.ndarray, "n c y x"] | StoredImages
        if whole and mapped.nbytes <= memory_limit * GIB:
            # Not through the map, whose pages would be in memory beside the array.
            pixels = np.fromfile(folder / PIXELS, dtype=np.uint8, offset=mapped.offset).reshape(mapped.shape)
            whole = manifest.agrees(pixels, range(len(mapped)))
        elif whole:
            pixels = StoredImages(mapped, sums=manifest.sha256)
            sampled = np.unique(np.linspace(0, len(mapped) - 1, NUM_SAMPLED).astype(int)).tolist()
            whole = manifest.agrees(RowsOnDisk(mapped, remedy="it is decoded again"), sampled)
    except (OSError, EOFError, ValueError, KeyError, TypeError, pa.ArrowException, UserError) as error:
        reason = " ".join(str(error).split())
        raise DamagedStoreError(f"the store {folder} is damaged ({reason})") from error
    if not whole:
        raise DamagedStoreError(f"the store {folder} is damaged (its pixels are not what was written)")
    return Stored(
        pixels=pixels,
        ids=manifest.ids,
        splits=manifest.splits,
        unreadable=manifest.unreadable,
        fingerprint=manifest.fingerprint,
    )
