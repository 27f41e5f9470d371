"""New images decoded as those of a run are, in threads that stay a batch ahead, and never all at once."""

import os
import stat
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clusterlab.data.decode import UnreadableImageError, decode_file, quiet_pillow, square_array
from clusterlab.data.parallel import map_ahead, usable_threads
from clusterlab.predict.new_images import NewImage, Source


class Decoded(NamedTuple):
    """An image, or the reason why it has no pixels."""

    image: NewImage
    pixels: UInt8[np.ndarray, "c y x"] | None
    reason: str


def decoded_batches(
    images: Iterable[NewImage], *, size: int, channels: int, batch_size: int
) -> Iterator[list[Decoded]]:
    """Yield the images, decoded to `size` pixels a side, by the `batch_size`; the last may be fewer.

    Two batches are in memory at most: one that is yielded, one that is decoded meanwhile.
    """

    def decode(image: NewImage) -> Decoded:
        try:
            return Decoded(image, read_image(image.source, size=size, channels=channels), "")
        except UnreadableImageError as error:
            return Decoded(image, None, str(error))

    with quiet_pillow():
        decoded = map_ahead(decode, images, threads=usable_threads(), ahead=batch_size)
        while batch := list(islice(decoded, batch_size)):
            yield batch


def read_image(source: Source, *, size: int, channels: int) -> UInt8[np.ndarray, "{channels} {size} {size}"]:
    """Return the pixels of one image as a run would have them.

    Raises:
        UnreadableImageError: there are none.
    """
    if isinstance(source, UnreadableImageError):
        raise source
    if isinstance(source, np.ndarray):
        return with_channels(square_array(source, size), channels)
    _see_regular(source)
    return with_channels(decode_file(source, size), channels)


def with_channels(pixels: UInt8[np.ndarray, "c y x"], channels: int) -> UInt8[np.ndarray, "{channels} y x"]:
    """Return grey images in colour, or colour images in grey: a grey image keeps its values either way."""
    if len(pixels) == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=0)
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).convert("L"))[None]


def _see_regular(path: Path) -> None:
    """A pipe would be waited for, and a device never ends."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise UnreadableImageError((error.strerror or str(error)).lower()) from error
    except ValueError as error:  # a null byte in the name
        raise UnreadableImageError(str(error)) from error
    if not stat.S_ISREG(mode):
        raise UnreadableImageError("a folder" if stat.S_ISDIR(mode) else "no regular file")
