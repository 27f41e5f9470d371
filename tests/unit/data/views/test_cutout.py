import pytest
import torch

from clusterlab.data.views.cutout import cutout


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
