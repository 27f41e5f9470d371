"""Images with identical pixels."""

import hashlib
import sqlite3
from collections import Counter

import numpy as np
from jaxtyping import Int, UInt8


def first_twins(pixels: UInt8[np.ndarray, "n c y x"]) -> Int[np.ndarray, " n"]:
    """The index of the first image with the same pixels, −1 for an image that is the first or only one.

    Of a large set on disk only the middle row of each image is read, all of it only where such rows agree.
    """
    middle = np.ascontiguousarray(pixels[:, 0, pixels.shape[2] // 2])
    rows = [row.tobytes() for row in middle]
    times = Counter(rows)
    twins = np.full(len(pixels), -1, dtype=np.int64)
    first: dict[bytes, int] = {}
    for index, row in enumerate(rows):
        if times[row] > 1:
            digest = _digest(pixels[index])
            earliest = first.setdefault(digest, index)
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
