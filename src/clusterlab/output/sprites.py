"""Many small images in few files: sheets of tiles, as many as fit into a budget of bytes."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from clusterlab.data.images import DecodedImages
from clusterlab.output.gallery import PIXELATED_UP_TO
from clusterlab.output.pictures import data_uri, sheet

BUDGET = 4_000_000
"""Characters of all sheets together: leaves the page below 10 MB with everything else that can stand in it."""
MOST_TILES = 8192
COLUMNS, ROWS = 16, 16
LARGE, SMALL = 64, 48
"""Pixels of a tile at most: of few images, and of many."""
FEW = 1024
QUALITY = 70


@dataclass(frozen=True)
class Sprites:
    """Tile i stands in sheet i // per_sheet, row by row."""

    sheets: list[str]
    """data: addresses."""
    count: int
    """Tiles in all of them."""
    side: int
    columns: int
    per_sheet: int
    pixelated: bool
    """Whether tiles are to be enlarged with hard edges."""


def sprites(pixels: DecodedImages, index: Int[np.ndarray, " m"], *, budget: int = BUDGET) -> Sprites:
    """Return tiles of the first of the images `index`, until `budget` characters are used up."""
    index = index[:MOST_TILES]
    side = min(pixels.shape[2], LARGE if len(index) <= FEW else SMALL)
    sheets: list[str] = []
    count = used = 0
    for start in range(0, len(index), COLUMNS * ROWS):
        here = index[start : start + COLUMNS * ROWS].tolist()
        uri = data_uri(sheet(pixels, here, columns=COLUMNS, side=side), tile=side, quality=QUALITY)
        used += len(uri)
        if used > budget:
            break
        sheets.append(uri)
        count += len(here)
    return Sprites(sheets, count, side, COLUMNS, COLUMNS * ROWS, pixels.shape[2] <= PIXELATED_UP_TO)
