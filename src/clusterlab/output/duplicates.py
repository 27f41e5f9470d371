"""Images with identical pixels."""

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable

import numpy as np
from jaxtyping import Int, UInt8

from clusterlab.data.images import DecodedImages
from clusterlab.data.rows_on_disk import StoredImages


def first_twins(pixels: DecodedImages) -> Int[np.ndarray, " n"]:
    """The index of the first image with the same pixels, −1 for an image that is the first or only one.

    Of a set on the disk the checksums are compared, and no image is read. Of one in memory the middle rows are, and all
    of an image only where these agree.
    """
    if isinstance(pixels, StoredImages):
        return _first_equal(pixels.sums, lambda index: pixels.sums[index].tobytes())
    middle = np.ascontiguousarray(pixels[:, 0, pixels.shape[2] // 2])
    return _first_equal(middle, lambda index: _digest(pixels[index]))


def _first_equal(some: UInt8[np.ndarray, "n b"], all_of: Callable[[int], bytes]) -> Int[np.ndarray, " n"]:
    """The same of anything of which `some` bytes are at hand, and the whole in `all_of`."""
    rows = [row.tobytes() for row in some]
    times = Counter(rows)
    twins = np.full(len(rows), -1, dtype=np.int64)
    first: dict[bytes, int] = {}
    for index, row in enumerate(rows):
        if times[row] > 1:
            earliest = first.setdefault(all_of(index), index)
            if earliest != index:
                twins[index] = earliest
    return twins


class Twins:
    """The same of images that come one after the other, and that nobody holds: only their digests are kept.

    They lie in a nameless database of SQLite's, which keeps 2 MB of it in memory and the rest in a temporary file.
    """

    def __init__(self) -> None:
        self._seen = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._seen.execute("PRAGMA journal_mode = OFF")
        self._seen.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, name TEXT) WITHOUT ROWID")

    def first(self, pixels: UInt8[np.ndarray, "c y x"], name: str) -> str:
        """Return the name of the first image with these pixels; nothing where this, called `name`, is the first.

        Raises:
            OSError: the disk is full.
        """
        digest = _digest(pixels)
        try:
            if self._seen.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (digest, name)).rowcount:
                return ""
            (earlier,) = self._seen.execute("SELECT name FROM seen WHERE digest = ?", (digest,)).fetchone()
        except sqlite3.OperationalError as error:
            raise OSError(str(error)) from error
        return str(earlier)

    def close(self) -> None:
        """Forget them."""
        self._seen.close()


def _digest(pixels: UInt8[np.ndarray, "c y x"]) -> bytes:
    return hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
