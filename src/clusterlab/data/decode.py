"""From one image file, or one array, to a square uint8 image.

A file's content decides its format, not its suffix. Its EXIF orientation is applied, alpha is laid over
white, an animation gives its first frame. Whatever is wrong with a file ends as `UnreadableImageError`, whose
text is the reason; the caller decides whether one bad file among many matters.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

DECODE_VERSION = 1
"""Raise when the same file comes to give other pixels: it is part of every store's key."""

# Others stay shut: for EPS, Pillow runs Ghostscript on the file.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

# A JPEG is decoded at a half, quarter or eighth of its side while that leaves so many times the side that is
# kept. A photo of 12 megapixels then takes 25 ms in place of 120, and its 64 × 64 pixels differ by 1 of 255.
JPEG_MARGIN = 3

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what puts the image upright."""


class UnreadableImageError(Exception):
    """One image that gives no pixels; the text is the reason, in one line."""


def decode_file(path: Path, size: int) -> UInt8[np.ndarray, "3 y x"]:
    """Return the RGB image in `path`, short side resized to `size` pixels and the centre cut to a square.

    Raises:
        UnreadableImageError: the file is missing, empty, forbidden, broken, no image, or larger than Pillow's
            limit against decompression bombs.
    """
    image = square(open_rgb(path, size), size)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def open_rgb(path: Path, size: int) -> Image.Image:
    """Return the upright RGB image in `path`.

    A JPEG may come smaller than it is, with sides of 3 × `size` or more.

    Raises:
        UnreadableImageError: as `decode_file`.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise UnreadableImageError("an empty file")
            with Image.open(file, formats=FORMATS) as image:
                # Pillow only warns between its limit and twice its limit.
                if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                    raise UnreadableImageError(f"{image.width} × {image.height} pixels: {_too_many()}")
                image.draft(None, (JPEG_MARGIN * size, JPEG_MARGIN * size))
                image.load()
                return _upright(_to_rgb(image), _orientation(image))
    except (UnreadableImageError, MemoryError):
        raise
    except Exception as error:  # a broken file makes Pillow raise nearly anything: struct.error, SyntaxError, KeyError
        raise UnreadableImageError(_reason(error)) from error


def square(image: Image.Image, size: int) -> Image.Image:
    """Return the central square of `image`, `size` pixels wide: bilinear, with antialiasing where it shrinks.

    An image whose short side is `size` keeps its pixel values.
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    # Cutting first gives the same square, and a strip of 1 × 10,000 pixels needs no 64 × 640,000 in between.
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box)


def square_array(image: UInt8[np.ndarray, "y x c"], size: int) -> UInt8[np.ndarray, "c size size"]:
    """Return `square` of an array with one channel or three, channels first."""
    if image.shape[:2] != (size, size):
        grey = image.shape[2] == 1
        small = np.asarray(square(Image.fromarray(image[..., 0] if grey else np.ascontiguousarray(image)), size))
        image = small[..., None] if grey else small
    return np.ascontiguousarray(image.transpose(2, 0, 1))


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep Pillow's warnings about odd metadata to itself.

    Warning filters belong to the process, not to a thread: enter from the main thread, around the pool.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_to_grey(image).convert("RGB")
    if image.has_transparency_data:
        if image.mode == "La":  # Pillow converts premultiplied grey to nothing but LA
            image = image.convert("LA")
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _deep_to_grey(image: Image.Image) -> Image.Image:
    """Scale 16 or 32 bits per pixel to 0..255; Pillow's own conversion clips at 255.

    Whole numbers span 0..65535. Floating point spans the first of 0..1, 0..255, 0..65535 that holds the
    image. What fits none of them spans its own least to greatest value. NaN and infinity count as 0.
    """
    values = np.asarray(image).astype(np.float64)
    values = np.where(np.isfinite(values), values, 0)
    low, high = float(values.min()), float(values.max())
    if low >= 0:
        tops = [top for top in ((1, 255, 65535) if image.mode == "F" else (65535,)) if high <= top]
        low, high = (0, tops[0]) if tops else (low, high)
    scaled = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of a loaded image; 1, upright, where there is none to be had."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a broken EXIF block says nothing against the pixels
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _too_many() -> str:
    return f"more than {Image.MAX_IMAGE_PIXELS}, the limit against decompression bombs"


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return _too_many()
    if isinstance(error, UnidentifiedImageError):
        return f"not an image in a known format ({', '.join(FORMATS)})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__
