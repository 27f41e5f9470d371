"""Images for the benchmarks: pieces of photographs where their content matters, noise where it does not."""

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from clusterlab.data.images import ImageSet

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def photographs(count: int, size: int) -> Pixels:
    """(count, size, size, 3): random squares of the two photographs in scikit-learn, made small."""
    rng = np.random.default_rng(0)
    photos = load_sample_images().images
    pieces = []
    for index in range(count):
        photo = photos[index % len(photos)]
        side = int(rng.integers(size, 400))
        top, left = (int(rng.integers(0, extent - side)) for extent in photo.shape[:2])
        piece = Image.fromarray(photo[top : top + side, left : left + side])
        pieces.append(np.asarray(piece.resize((size, size), Image.Resampling.BILINEAR)))
    return np.stack(pieces)


def noise(count: int, size: int) -> Pixels:
    """(count, size, size, 3)."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def image_set(pixels: Pixels, *, protocol: str = "all") -> ImageSet:
    """Those pixels (n, y, x, c), without labels, for a stage to work on."""
    count = len(pixels)
    channels_first = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    ids = tuple(map(str, range(count)))
    return ImageSet(pixels=channels_first, ids=ids, splits=("train",) * count, protocol=protocol, fingerprint="")
