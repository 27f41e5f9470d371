"""Making a store: images are decoded in blocks, by every thread of every process that wants them.

While a store is made it is a folder `images-<key>.part`

    images.npy            room for all images, each at its place
    block-<number>.json   block <number> is done: the checksums of its images, the reasons of the unreadable ones
    block-<number>.lock   held by the thread that decodes the block

A block is recorded after its bytes are on the disk, so whatever happens to a job, what is recorded is good: the next
one decodes the rest. A thread takes a block by its lock, which the system opens when its process is killed. Jobs that
want the same store at the same time, the processes of a distributed run among them, so share the blocks without
knowing of each other.

Within a process they are threads, because processes were no faster: Pillow lets go of the interpreter lock while it
decodes. On two cores that were busy with other work, medians of seven rounds, two threads and two processes decoded
216 and 149 photos of 500 × 375 a second, and 3,359 and 2,703 images of 32 × 32.

The last one closes the gaps that unreadable images left, for which the disk needs the room twice, writes the manifest
and gives the folder its final name.
"""

import errno
import io
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Int

from clusterlab.data.decode import UnreadableImageError, quiet_pillow
from clusterlab.data.originals import Originals
from clusterlab.data.parallel import in_threads, usable_threads
from clusterlab.data.rows_on_disk import sha256_of
from clusterlab.data.store_manifest import MANIFEST, SHA256, Manifest, write_manifest
from clusterlab.durable import remove, replacing, sync, sync_folder
from clusterlab.errors import UserError
from clusterlab.progress import track

_log = logging.getLogger(__name__)

PIXELS, PACKED = "images.npy", "packed.npy"
NUM_BLOCKS = 256
"""Of a small store: enough for many threads to end at about the same time."""
SMALLEST_BLOCK, LARGEST_BLOCK = 64, 1024
"""Images. A block costs some milliseconds of waiting for the disk; a killed job loses one for each thread."""
COPIED = 2**24
"""Bytes copied at a time."""
PATIENCE = 0.2
"""Seconds between two looks at a block that another job has."""
STALE_AFTER = 7 * 24 * 3600
"""Seconds after which what a killed job left is removed, if none has gone on with it."""

Record = list[list[str | None]]
"""For each image of a block its checksum and null, or null and the reason why it is unreadable."""


class PartialStore:
    """The images `chosen` of `originals` on their way to become the store `whole`.

    `prepare` and `finish` are for one process at a time; `decode`, between them, for as many as want to.
    """

    def __init__(self, originals: Originals, chosen: Sequence[int], whole: Path) -> None:
        self.originals = originals
        self.chosen = chosen
        self.whole = whole
        self.folder = whole.with_name(f"{whole.name}.part")
        self.block_size = min(max(-(-len(chosen) // NUM_BLOCKS), SMALLEST_BLOCK), LARGEST_BLOCK)
        self.num_blocks = -(-len(chosen) // self.block_size)
        self.row_bytes = int(np.prod(originals.shape))
        self.header = self._header(len(chosen))
        self.nbytes = len(self.header) + len(chosen) * self.row_bytes

    def prepare(self) -> None:
        """Make room for the images, unless an earlier job did.

        Raises:
            OSError: there is not enough.
        """
        remove_stale(self.whole.parent)
        pixels = self.folder / PIXELS
        if self._complete:
            return
        if pixels.exists() and pixels.stat().st_size == self.nbytes:
            for number in range(self.num_blocks):
                # Records are not synced: after a power failure one may be empty.
                if self._done(number) and self._record(number) is None:
                    remove(self._block(number, "json"))
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        if shutil.disk_usage(self.whole.parent).free < self.nbytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.folder.mkdir()
        with replacing(pixels) as temporary, temporary.open("wb") as file:
            file.write(self.header)
            file.truncate(self.nbytes)

    def decode(self) -> None:
        """Decode every block that is not done, and return once all are: by this process, or by others too.

        Whatever error ends it, what is done stays.
        """
        left = sum(len(self._positions(number)) for number in range(self.num_blocks) if not self._done(number))
        known = f"; {len(self.chosen) - left} of them are decoded already" if left < len(self.chosen) else ""
        _log.info("%s: decoding %d images once, into %s%s", self.originals.where, len(self.chosen), self.whole, known)
        start = time.monotonic()
        if left:
            self.originals.check()
        decoded = sum(1 for _ in track(_Decoding(self, left), "decoding", unit="image"))
        _log.info("%s: decoded %d images in %.1f s", self.originals.where, decoded, time.monotonic() - start)

    def blocks(self, stop: threading.Event) -> Iterator[int]:
        """Decode blocks, and yield how many images each has, until all are done, by whomever."""
        taken: list[int] = []
        for number in range(self.num_blocks):
            try:
                yield self._decode(number, stop, timeout=0)
            except Timeout:
                taken.append(number)
        while taken:
            # Whoever has it may be killed: then it is free again, and not done.
            with suppress(Timeout):
                yield self._decode(taken[-1], stop, timeout=PATIENCE)
                taken.pop()

    def finish(self) -> None:
        """Make of the folder a store, unless another job has.

        Raises:
            UserError: not one image could be read.
        """
        if self.folder.exists() and not self.whole.exists():
            if not self._complete:
                self._complete_with_manifest()
            if (self.folder / PACKED).exists():
                (self.folder / PACKED).replace(self.folder / PIXELS)
            self._remove_blocks(self.folder)
            sync_folder(self.folder)
            self.folder.rename(self.whole)
            sync(self.whole.parent)
        # A job that looked for a block at that moment may have left a lock, or a folder with one.
        self._remove_blocks(self.whole)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _complete(self) -> bool:
        return (self.folder / MANIFEST).exists()

    def _done(self, number: int) -> bool:
        """Return whether a block needs no decoding any more.

        The order is that in which `finish` goes: who comes too late for the record finds the manifest, or no pixels.
        """
        return self._block(number, "json").exists() or self._complete or not (self.folder / PIXELS).exists()

    def _block(self, number: int, suffix: str) -> Path:
        return self.folder / f"block-{number:06d}.{suffix}"

    def _positions(self, number: int) -> Sequence[int]:
        return self.chosen[number * self.block_size : (number + 1) * self.block_size]

    def _header(self, count: int) -> bytes:
        # NumPy pads the header so that the first axis may change without moving the data.
        file = io.BytesIO()
        about = {"descr": "|u1", "fortran_order": False, "shape": (count, *self.originals.shape)}
        np.lib.format.write_array_header_1_0(file, about)
        return file.getvalue()

    def _decode(self, number: int, stop: threading.Event, timeout: float) -> int:
        """Decode a block and record it; return how many images that were.

        Raises:
            filelock.Timeout: another thread or process has it.
        """
        if stop.is_set() or self._done(number):
            return 0
        with FileLock(self._block(number, "lock"), timeout=timeout):
            if self._done(number):
                return 0
            record = self._write_block(number, stop)
            if record is None:
                return 0
            sync(self.folder / PIXELS)
            temporary = self._block(number, "tmp")
            temporary.write_text(json.dumps(record), encoding="utf-8")
            temporary.replace(self._block(number, "json"))
            return len(record)

    def _write_block(self, number: int, stop: threading.Event) -> Record | None:
        record: Record = []
        with (self.folder / PIXELS).open("r+b") as file:
            file.seek(len(self.header) + number * self.block_size * self.row_bytes)
            for i in self._positions(number):
                if stop.is_set():
                    return None
                try:
                    image = np.ascontiguousarray(self.originals.read(i))
                except UnreadableImageError as error:
                    record.append([None, str(error)])
                    file.seek(self.row_bytes, os.SEEK_CUR)
                    continue
                if image.shape != self.originals.shape:
                    raise ValueError(f"{self.originals.ids[i]} was decoded to the shape {image.shape}")
                file.write(image.data)
                record.append([sha256_of(image).hex(), None])
        return record

    def _record(self, number: int) -> Record | None:
        with suppress(OSError, ValueError, TypeError):
            record: Record = json.loads(self._block(number, "json").read_text(encoding="utf-8"))
            digests = [bytes.fromhex(digest) for digest, _ in record if digest is not None]
            if len(record) == len(self._positions(number)) and all(len(digest) == SHA256 for digest in digests):
                return record
        return None

    def _complete_with_manifest(self) -> None:
        kept: list[int] = []
        sha256 = bytearray()
        unreadable: list[tuple[str, str]] = []
        for number in range(self.num_blocks):
            record = self._record(number)
            assert record is not None
            for place, (digest, reason) in enumerate(record, start=number * self.block_size):
                if digest is None:
                    unreadable.append((self.originals.ids[self.chosen[place]], str(reason)))
                else:
                    kept.append(place)
                    sha256 += bytes.fromhex(digest)
        if not kept:
            shutil.rmtree(self.folder, ignore_errors=True)
            (first, reason), where = unreadable[0], self.originals.where
            raise UserError(
                f"none of the {len(self.chosen)} images of {where} can be read; the first, {first}: {reason}"
            )
        manifest = Manifest(
            shape=self.originals.shape,
            ids=tuple(self.originals.ids[self.chosen[place]] for place in kept),
            splits=tuple(self.originals.splits[self.chosen[place]] for place in kept),
            sha256=np.frombuffer(sha256, dtype=np.uint8).reshape(len(kept), -1),
            unreadable=tuple(unreadable),
        )
        if unreadable:
            self._pack(np.array(kept))
        with replacing(self.folder / MANIFEST) as temporary:
            write_manifest(temporary, manifest, self.originals, self.chosen)

    def _pack(self, kept: Int[np.ndarray, " n"]) -> None:
        """Write the images at the places `kept` one after the other."""
        ends = np.append(np.flatnonzero(np.diff(kept) != 1) + 1, len(kept))
        with (
            replacing(self.folder / PACKED) as temporary,
            (self.folder / PIXELS).open("rb") as source,
            temporary.open("wb") as file,
        ):
            file.write(self._header(len(kept)))
            for start, end in zip([0, *ends[:-1]], ends, strict=True):
                source.seek(len(self.header) + int(kept[start]) * self.row_bytes)
                left = int(end - start) * self.row_bytes
                while left:
                    left -= file.write(source.read(min(left, COPIED)))

    def _remove_blocks(self, folder: Path) -> None:
        for path in folder.glob("block-*"):
            path.unlink(missing_ok=True)


class _Decoding:
    """The images that this process decodes, of `left` that are to be."""

    def __init__(self, store: PartialStore, left: int) -> None:
        self.store = store
        self.left = left

    def __len__(self) -> int:
        return self.left

    def __iter__(self) -> Iterator[int]:
        with quiet_pillow():
            for count in in_threads(self.store.blocks, usable_threads()):
                yield from range(count)


def remove_stale(store_dir: Path) -> None:
    """Remove what killed jobs left below `store_dir`, if none has gone on with it for a week."""
    for folder in [*store_dir.glob("images-*.part"), *store_dir.glob("images-*.tmp")]:
        with suppress(OSError):  # another job removes it too
            last = max(path.stat().st_mtime for path in (folder, *folder.glob(PIXELS)))
            if time.time() - last > STALE_AFTER:
                _log.info("removing %s, which no job has gone on with for a week", folder)
                shutil.rmtree(folder, ignore_errors=True)
