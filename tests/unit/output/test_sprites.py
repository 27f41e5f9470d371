import base64
import io

import numpy as np
from PIL import Image

from clusterlab.output.sprites import sprites


def opened(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def shades(n: int, side: int) -> np.ndarray:
    return np.broadcast_to(np.arange(n).reshape(n, 1, 1, 1) % 256, (n, 1, side, side)).astype(np.uint8)


def test_tiles_stand_row_by_row_in_the_given_order():
    index = np.arange(299, -1, -1)
    packed = sprites(shades(300, 8), index)
    assert (packed.count, packed.side, packed.per_sheet, len(packed.sheets)) == (300, 8, 256, 2)
    for place in (0, 17, 255, 256, 299):
        sheet, rest = divmod(place, packed.per_sheet)
        row, column = divmod(rest, packed.columns)
        assert opened(packed.sheets[sheet])[row * 8 + 4, column * 8 + 4, 0] == (299 - place) % 256


def test_a_budget_ends_with_a_whole_sheet():
    pixels = np.random.default_rng(0).integers(0, 255, (1000, 3, 8, 8), np.uint8)
    whole = sprites(pixels, np.arange(1000))
    some = sprites(pixels, np.arange(1000), budget=sum(map(len, whole.sheets[:2])))
    assert some.sheets == whole.sheets[:2]
    assert some.count == 512
    assert sprites(pixels, np.arange(1000), budget=10).count == 0


def test_large_images_become_small_tiles_and_smaller_ones_where_there_are_many():
    pixels = shades(1, 100)
    assert sprites(pixels, np.zeros(3, int)).side == 64
    assert sprites(pixels, np.zeros(1025, int)).side == 48
    assert not sprites(pixels, np.zeros(3, int)).pixelated
