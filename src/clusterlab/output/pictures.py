"""Images of the run as pictures in the report: composed grids, and data URIs."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from clusterlab.data.images import DecodedImages
from clusterlab.output.colours import cluster_colours

LARGEST_TILE = 80
"""Pixels; larger images are made smaller, smaller ones stay as they are and the page enlarges them."""
LOSSLESS_UP_TO, FINE_UP_TO = 16, 32
"""Pixels; compression shows on images that are enlarged a lot."""


def grid(pixels: DecodedImages, index: Sequence[int], *, columns: int) -> Image.Image:
    """Compose the images `index` of `pixels` (n × c × y × x) row by row, on a transparent ground."""
    side = min(pixels.shape[2], LARGEST_TILE)
    return _composed(pixels, index, columns=columns, side=side, gap=max(1, side // 16), mode="RGBA")


def sheet(pixels: DecodedImages, index: Sequence[int], *, columns: int, side: int) -> Image.Image:
    """Compose the images `index` edge to edge, each `side` pixels wide."""
    return _composed(pixels, index, columns=columns, side=side, gap=0, mode="RGB")


def overview(pixels: DecodedImages, typical: Sequence[tuple[int, Sequence[int]]]) -> Image.Image:
    """Return a picture with a row of images per entry (cluster, its typical images), top to bottom."""
    columns = max(len(index) for _, index in typical)
    stored = min(pixels.shape[2], LARGEST_TILE)
    side = stored * max(1, 64 // stored)
    colours = cluster_colours(1 + max(cluster for cluster, _ in typical))
    margin, step = side * 3 // 2, side + side // 8
    picture = Image.new("RGB", (margin + columns * step, len(typical) * step + side // 8), "white")
    draw = ImageDraw.Draw(picture)
    for row, (cluster, index) in enumerate(typical):
        top = side // 8 + row * step
        middle = (margin // 2, top + side // 2)
        draw.rounded_rectangle((side // 8, top, margin - side // 8, top + side - 1), side // 6, colours[cluster])
        draw.text(middle, str(cluster), "black", ImageFont.load_default(side * 0.45), anchor="mm")
        for column, image in enumerate(pixels[index]):
            tile = _tile(image, stored)
            picture.paste(tile.resize((side, side), Image.Resampling.NEAREST), (margin + column * step, top))
    return picture


def scatter(points: npt.NDArray[np.float64], colours: Sequence[str], *, side: int) -> Image.Image:
    """Return dots at `points` (m × 2, in [0, 1], y upwards) in the given colours, on a transparent ground."""
    scale = 3  # drawn larger, then reduced: smooth edges
    radius = scale * side * min(max(0.16 / len(points) ** 0.5, 0.0016), 0.007)
    canvas = Image.new("RGBA", (side * scale, side * scale))
    draw = ImageDraw.Draw(canvas)
    # In a random order no cluster lies on top of all others.
    for i in np.random.default_rng(0).permutation(len(points)).tolist():
        x, y = points[i, 0] * side * scale, (1 - points[i, 1]) * side * scale
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colours[i])
    return canvas.reduce(scale)


def heat(shares: npt.NDArray[np.float64]) -> Image.Image:
    """Return a matrix in [0, 1] as a picture: one colour, as opaque as the entry is large."""
    blue = np.broadcast_to(np.array([47, 107, 224], np.uint8), (*shares.shape, 3))
    opacity = (255 * np.sqrt(shares)).round().astype(np.uint8)  # the root lets small entries be seen
    return Image.fromarray(np.dstack([blue, opacity]), "RGBA")


def data_uri(picture: Image.Image, *, tile: int = 0, quality: int | None = None) -> str:
    """Return `picture` as WebP inside a `data:` address, exact unless it is composed of larger tiles.

    `quality`, up to 100, is that of a picture that is not exact; None chooses by the size of the tiles.
    """
    buffer = io.BytesIO()
    if quality is None:
        quality = 90 if tile <= FINE_UP_TO else 78
    picture.save(buffer, "WEBP", lossless=tile <= LOSSLESS_UP_TO, quality=quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _composed(
    pixels: DecodedImages, index: Sequence[int], *, columns: int, side: int, gap: int, mode: str
) -> Image.Image:
    rows = -(-len(index) // columns)
    canvas = Image.new(mode, (columns * (side + gap) - gap, rows * (side + gap) - gap))
    for place, image in enumerate(pixels[index]):
        row, column = divmod(place, columns)
        canvas.paste(_tile(image, side), (column * (side + gap), row * (side + gap)))
    return canvas


def _tile(pixels: npt.NDArray[np.uint8], side: int) -> Image.Image:
    image = Image.fromarray(pixels[0] if pixels.shape[0] == 1 else np.moveaxis(pixels, 0, -1))
    return image if image.width == side else image.resize((side, side), Image.Resampling.LANCZOS)
