"""The manifest of a store: a Parquet table with a row for each image that was chosen, in their order.

    id, split     as in the image set
    stamp         what tells whether the source changed, as JSON: for a file its name, size, time of change in
                  nanoseconds and permissions
    sha256        of the decoded pixels; null if the image could not be read
    unreadable    the reason then, otherwise null

Its metadata holds the shape of an image and the fingerprint. It is written and read in parts, so that what is in
memory beside the result stays small: of 1.28 million images the ids take about 115 MB, the checksums 41.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import UInt8

from clusterlab.data.images import Split
from clusterlab.data.originals import Originals
from clusterlab.data.rows_on_disk import RowsOnDisk, sha256_of

MANIFEST = "manifest.parquet"
PART = 2**16
"""Rows that are written, read or hashed at a time."""
ABOUT = b"clusterlab"
SHA256 = 32
"""Bytes of a checksum."""


@dataclass(frozen=True, eq=False)
class Manifest:
    """The images that could be read, in their order, and the others."""

    shape: tuple[int, int, int]
    ids: tuple[str, ...]
    splits: tuple[Split, ...]
    sha256: UInt8[np.ndarray, "n 32"]
    """The checksum of each image's pixels."""
    unreadable: tuple[tuple[str, str], ...]
    """(id, reason)."""

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over shape, ids, splits and pixels."""
        digest = hashlib.sha256(json.dumps([len(self.ids), *self.shape]).encode())
        for start in range(0, len(self.ids), PART):
            rows = slice(start, start + PART)
            digest.update(json.dumps([self.ids[rows], self.splits[rows]]).encode())
            digest.update(self.sha256[rows].tobytes())
        return digest.hexdigest()

    def agrees(self, pixels: UInt8[np.ndarray, "n c y x"] | RowsOnDisk, rows: Sequence[int]) -> bool:
        """Return whether the images `rows` have the pixels that were written."""
        return all(sha256_of(pixels[row]) == self.sha256[row].tobytes() for row in rows)


def write_manifest(path: Path, manifest: Manifest, originals: Originals, chosen: Sequence[int]) -> None:
    """Write `manifest`, made of the images `chosen` of `originals`."""
    reasons = dict(manifest.unreadable)
    about = {"shape": manifest.shape, "fingerprint": manifest.fingerprint}
    columns = {"id": pa.string(), "split": pa.string(), "stamp": pa.string(), "sha256": pa.binary(SHA256)}
    schema = pa.schema(columns | {"unreadable": pa.string()}, metadata={ABOUT: json.dumps(about)})
    row = 0
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for start in range(0, len(chosen), PART):
            part = chosen[start : start + PART]
            ids = [originals.ids[i] for i in part]
            sha256: list[bytes | None] = []
            for name in ids:
                sha256.append(None if name in reasons else manifest.sha256[row].tobytes())
                row += name not in reasons
            values = {
                "id": ids,
                "split": [originals.splits[i] for i in part],
                "stamp": [json.dumps(originals.stamps[i]) for i in part],
                "sha256": sha256,
                "unreadable": [reasons.get(name) for name in ids],
            }
            writer.write_table(pa.table(values, schema=schema))


def read_manifest(path: Path) -> Manifest:
    """Return the manifest in `path`.

    Raises:
        ValueError: it is not what was written. Or another error of Python or Arrow, if it is no such table at all.
    """
    ids: list[str] = []
    splits: list[str] = []
    sha256 = bytearray()
    unreadable: list[tuple[str, str]] = []
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        about: dict[str, Any] = json.loads(file.schema_arrow.metadata[ABOUT])
        for part in range(file.num_row_groups):
            table = file.read_row_group(part, columns=["id", "split", "sha256", "unreadable"])
            for name, split, digest, reason in zip(*(column.to_pylist() for column in table.columns), strict=True):
                if digest is None:
                    unreadable.append((name, reason))
                else:
                    ids.append(name)
                    splits.append(sys.intern(split))
                    sha256 += digest
    manifest = Manifest(
        shape=cast(tuple[int, int, int], tuple(about["shape"])),
        ids=tuple(ids),
        splits=cast(tuple[Split, ...], tuple(splits)),
        sha256=np.frombuffer(sha256, dtype=np.uint8).reshape(-1, SHA256),
        unreadable=tuple(unreadable),
    )
    if manifest.fingerprint != about["fingerprint"]:
        raise ValueError("the fingerprint is another")
    return manifest
