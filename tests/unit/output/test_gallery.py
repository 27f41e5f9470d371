import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import clusterlab.output.gallery as module
from clusterlab.data.images import ImageSet
from clusterlab.output.colours import cluster_colours
from clusterlab.output.gallery import cards, outliers, typical_images
from clusterlab.output.pictures import data_uri, grid, heat, overview, scatter
from clusterlab.output.prototypes import Prototypes
from clusterlab.output.table import AssignmentTable


def shades(n: int, side: int = 8, channels: int = 1) -> np.ndarray:
    """Image i is plain, of shade i."""
    return np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, channels, side, side)).copy()


def case(clusters: list[int], **columns: list[float]) -> tuple[ImageSet, AssignmentTable]:
    n = len(clusters)
    ids = [f"{i}.png" for i in range(n)]
    images = ImageSet(shades(n), tuple(ids), ("train",) * n, "all", "")
    values = {name: np.array(columns.get(name, [0.5] * n)) for name in ("confidence", "margin", "distance")}
    table = AssignmentTable(
        id=ids, split=["train"] * n, cluster=np.array(clusters), outlier=np.zeros(n, bool),
        twin=np.full(n, -1), name=None, label=None, **values,
    )  # fmt: skip
    return images, table


def shown(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/webp;base64,")))).convert("RGBA")


def tiles(picture: Image.Image, count: int, side: int = 8) -> list[int]:
    return [picture.getpixel((i * (side + 1) + 2, 2))[0] for i in range(count)]


def test_typical_images_are_the_nearest_of_their_own_cluster():
    _, table = case([0, 1, 0, 0, 1], distance=[0.3, 0.0, 0.1, 0.2, 0.0])
    assert typical_images(table, 3, 2) == [[2, 3], [1, 4], []]


def test_cards_show_the_right_pixels():
    images, table = case([1, 0, 1, 1], distance=[0.3, 0.0, 0.1, 0.2])
    empty, card = cards(images, table, 3, None)[2], cards(images, table, 3, None)[1]
    assert tiles(shown(card.typical.uri), 3) == [2, 3, 0]
    assert card.names == ["2.png", "3.png", "0.png"]
    assert (card.size, card.share, card.unsure) == (3, 0.75, None)
    assert (empty.size, empty.typical, empty.names) == (0, None, [])


def test_least_sure_images_are_others_than_the_typical():
    margin = [i / 40 for i in range(40)]
    images, table = case([0] * 40, margin=margin, distance=[0.0] * 20 + [0.5] * 20)
    (card,) = cards(images, table, 1, None)
    assert card.typical.count == 20
    assert tiles(shown(card.unsure.uri), 10) == list(range(20, 30))


def test_true_classes_of_a_card_are_shares_of_the_known():
    images, table = case([0, 0, 0, 0, 0])
    (card,) = cards(images, replace(table, label=["cat", "dog", "cat", "", "cat"]), 1, None)
    assert card.classes == [("cat", 0.75), ("dog", 0.25)]


def test_with_very_many_clusters_the_largest_are_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_CARDS", 2)
    images, table = case([0, 1, 1, 2, 2, 2])
    assert [card.cluster for card in cards(images, table, 4, None)] == [2, 1]


def test_outliers_come_farthest_beyond_the_fence_first():
    images, table = case([0, 0, 0, 1], distance=[0.5, 0.9, 0.1, 0.8])
    table = replace(table, outlier=np.array([True, True, False, True]))
    found, names = outliers(images, table, Prototypes(*map(np_tensor, ([[0.0]] * 2, [0.4, 0.1]))))
    assert names == ["3.png", "1.png", "0.png"]
    assert tiles(shown(found.uri), 3) == [3, 1, 0]


def np_tensor(values: list) -> object:
    import torch

    return torch.tensor(values)


def test_no_outlier_is_no_picture():
    images, table = case([0, 0])
    assert outliers(images, table, Prototypes(*map(np_tensor, ([[0.0]], [1.0])))) == (None, [])


@pytest.mark.parametrize(("side", "size"), [(8, (26, 17)), (32, (100, 66)), (224, (250, 165))])
def test_a_grid_keeps_small_images_and_shrinks_large_ones(side: int, size: tuple[int, int]):
    assert grid(shades(5, side, channels=3), range(5), columns=3).size == size


def test_colours_keep_their_channels():
    pixels = np.zeros((1, 3, 8, 8), np.uint8)
    pixels[0, 0] = 200
    assert shown(data_uri(grid(pixels, [0], columns=1), tile=8)).getpixel((3, 3)) == (200, 0, 0, 255)


def test_overview_has_a_row_per_cluster():
    picture = overview(shades(6), [(3, [0, 1, 2]), (5, [4])])
    assert picture.size[1] == 2 * 72 + 8
    assert picture.getpixel((96 + 72 + 5, 30)) == (1, 1, 1)
    assert picture.getpixel((96 + 5, 100)) == (4, 4, 4)


def test_dots_have_their_colour_and_the_ground_is_clear():
    picture = scatter(np.array([[0.25, 0.75]]), ["#ff0000"], side=200)
    assert picture.getpixel((50, 50)) == (255, 0, 0, 255)
    assert picture.getpixel((150, 150))[3] == 0


def test_heat_is_as_opaque_as_the_entry_is_large():
    opacity = np.asarray(heat(np.array([[0.0, 1.0, 0.25]])))[0, :, 3]
    assert opacity.tolist() == [0, 255, 128]


def test_every_cluster_has_a_colour_of_its_own():
    colours = cluster_colours(200)
    assert len(set(colours)) == 200
    assert all(len(colour) == 7 for colour in colours)


def test_colours_of_few_clusters_are_easy_to_tell_apart():
    values = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in cluster_colours(10)], float)
    gaps = np.linalg.norm(values[:, None] - values, axis=2) + 1e9 * np.eye(10)
    assert gaps.min() > 40
