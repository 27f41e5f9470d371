import pytest
import torch
from PIL import ImageDraw
from scipy import stats

from clusterlab.data.views.cutout import cutout, draw_squares, paint


# The exact expectations are those of the reference implementation's rule (notes on SCAN, section 6.7).
@pytest.mark.parametrize(("side", "longest", "expected"), [(32, 16, 0.0689168), (96, 32, 0.0326170)])
def test_the_expected_share_of_zeros_is_that_of_scan(side, longest, expected, generator):
    count = 20000 if side == 32 else 4000
    share = 1 - cutout(torch.ones(count, 1, side, side), generator, longest=longest).mean((1, 2, 3))
    error = share.std() / count**0.5
    assert abs(share.mean() - expected) < 3 * error
    assert abs((share == 0).double().mean() - 1 / longest) < 3 * (1 / longest / count) ** 0.5


def test_holes_are_even_squares_of_zeros_clipped_at_the_border(generator):
    views = cutout(torch.full((4000, 2, 20, 20), 3.0), generator, longest=9)
    assert set(views.unique().tolist()) == {0.0, 3.0}
    assert torch.equal(views[:, 0], views[:, 1])
    hole = views[:, 0] == 0
    height, width = hole.any(2).sum(1), hole.any(1).sum(1)
    assert torch.equal(hole.sum((1, 2)), height * width)  # a full rectangle
    untouched = ~(hole[:, 0].any(1) | hole[:, -1].any(1) | hole[:, :, 0].any(1) | hole[:, :, -1].any(1))
    assert torch.equal(height[untouched], width[untouched])
    assert set(height[untouched].tolist()) == {0, 2, 4, 6, 8}


def test_centres_are_uniform_over_the_pixels(generator):
    hole = cutout(torch.ones(16000, 1, 8, 8), generator, longest=2)[:, 0] == 0
    hole = hole[hole.any(2).any(1)]
    # With a side of 2 the last row and column of the hole are those of its centre.
    bottom = 7 - hole.any(2).flip(1).byte().argmax(1)
    right = 7 - hole.any(1).flip(1).byte().argmax(1)
    counts = torch.bincount(bottom * 8 + right, minlength=64).double()
    assert ((counts - len(hole) / 64) ** 2 / (len(hole) / 64)).sum() < 103  # chi², 63 degrees, p = 0.001


def test_a_longest_side_of_one_cuts_nothing(generator):
    views = torch.randn(50, 3, 8, 8, generator=generator)
    assert torch.equal(cutout(views, generator, longest=1), views)


@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_painted_squares_are_those_that_pillow_draws_from_a_real_centre_and_length(share, images, by_pil, generator):
    images = images.repeat(20, 1, 1, 1)
    b, channels, side, _ = images.shape
    state = generator.get_state()
    squares = draw_squares(generator, b, height=side, width=side, share=share)
    length, y, x = (torch.rand(b, 3, generator=generator.set_state(state)) * torch.tensor([share, 1, 1])).unbind(1)
    colour = (125, 123, 114)[:channels]

    def draw(image, length, y, x):
        v, image = length * side, image.copy()
        left, top = (int(max(0.0, centre * side - v / 2)) for centre in (x, y))
        corners = (left, top, min(side, left + v), min(side, top + v))
        ImageDraw.Draw(image).rectangle(corners, fill=colour if channels == 3 else colour[0])
        return image

    ours = paint(images, squares, torch.tensor(colour, dtype=torch.uint8))
    assert torch.equal(ours, by_pil(images, draw, length, y, x))


def test_sides_of_painted_squares_are_uniform_from_one_pixel_to_the_share_of_the_width(generator):
    squares = draw_squares(generator, 16000, height=32, width=32, share=0.5)
    counts = torch.bincount(squares.side, minlength=17)
    assert (len(counts), counts[0]) == (17, 0)
    assert stats.chisquare(counts[1:]).pvalue > 0.01


def test_centres_of_painted_squares_are_uniform_and_independent_of_each_other_and_of_the_side(generator):
    squares = draw_squares(generator, 16000, height=64, width=64, share=1e-6)  # so small that they begin at the centre
    assert (squares.side == 1).all()
    counts = torch.bincount(squares.top // 8 * 8 + squares.left // 8, minlength=64)
    assert stats.chisquare(counts).pvalue > 0.01
    top, left, side = draw_squares(generator, 16000, height=64, width=64, share=0.5)
    columns = torch.stack([top + side / 2, left + side / 2, side])
    columns = columns[:, (columns[:2] > 17).all(0)]  # far enough from the border not to be pushed
    assert ((torch.corrcoef(columns) - torch.eye(3)).abs() < 4 / columns.shape[1] ** 0.5).all()


def test_painting_copies_and_every_image_has_its_square(images, generator):
    before = images.clone()
    white = torch.full_like(images, 255)
    squares = draw_squares(generator, len(images), height=images.shape[2], width=images.shape[3], share=0.5)
    colour = torch.zeros(images.shape[1], dtype=torch.uint8)
    painted = (paint(white, squares, colour) == 0).all(1).sum((1, 2))
    bottom, right = ((first + squares.side).clamp(max=images.shape[2]) for first in squares[:2])
    assert torch.equal(painted, (bottom - squares.top) * (right - squares.left))
    assert (painted > 0).all()
    paint(images, squares, colour)
    assert torch.equal(images, before)
