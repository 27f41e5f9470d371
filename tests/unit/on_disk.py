"""Images as a run has them that are larger than `data.memory_limit`."""

from pathlib import Path

import numpy as np

from clusterlab.data.rows_on_disk import StoredImages, sha256_of


def on_disk(pixels: np.ndarray, path: Path) -> StoredImages:
    np.save(path, pixels)
    sums = np.stack([np.frombuffer(sha256_of(image), dtype=np.uint8) for image in pixels])
    return StoredImages(np.load(path, mmap_mode="r"), sums=sums)
