"""Images that are made up: originals for the tests of the store, which count how many were read."""

import time

import numpy as np

from clusterlab.data.decode import UnreadableImageError
from clusterlab.data.originals import Originals, split_sizes


class Film:
    """`num` originals of `size` × `size` pixels, of which `broken` cannot be read; each read takes `seconds`."""

    def __init__(
        self, *, num: int = 100, broken: tuple[int, ...] = (), size: int = 4, edition: int = 0, seconds: float = 0.0
    ) -> None:
        self.reads = 0
        self.broken = broken
        self.size = size
        self.seconds = seconds
        self.originals = Originals(
            where="film",
            ids=tuple(f"frame {i}" for i in range(num)),
            splits=split_sizes(train=num - 20, test=20),
            split_rule="",
            stamps=tuple((i, edition) for i in range(num)),
            shape=(3, size, size),
            read=self.read,
            labels=None,
        )

    def __len__(self) -> int:
        return len(self.originals.ids)

    def pixels(self, i: int) -> np.ndarray:
        return np.random.default_rng(i).integers(0, 256, (3, self.size, self.size), dtype=np.uint8)

    def read(self, i: int) -> np.ndarray:
        self.reads += 1
        time.sleep(self.seconds)
        if i in self.broken:
            raise UnreadableImageError("torn")
        return self.pixels(i)

    def replace_read(self, read) -> None:
        object.__setattr__(self.originals, "read", read)
