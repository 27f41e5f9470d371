from itertools import permutations

import pytest
import torch
import torchvision.transforms.functional as TF
from scipy import stats

from clusterlab.data.views import jitter as module
from clusterlab.data.views.jitter import Jitter, apply_jitter, draw_jitter

BLENDS = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation)


def jitter_by_torchvision(image, kinds, factors, place, turns):
    if place < 0:
        return image
    for step, (kind, factor) in enumerate(zip(kinds, factors, strict=True)):
        if step == place:
            image = TF.adjust_hue(image, turns)
        image = BLENDS[kind](image, factor)
    return TF.adjust_hue(image, turns) if place == len(kinds) else image


def draw(generator, count, *, channels=3, strengths=(0.4, 0.4, 0.4, 0.1), probability=0.8):
    shape = torch.Size((count, channels, 8, 8))
    return draw_jitter(generator, shape, strengths=strengths, probability=probability)


def test_every_pixel_is_that_of_torchvision_in_the_drawn_order(photographs, by_pil, generator):
    images = photographs(250, 32)
    drawn = draw(generator, 250)
    theirs = by_pil(images, jitter_by_torchvision, *drawn)
    assert torch.equal(apply_jitter(images.float(), drawn), theirs.float())


def test_all_24_orders_are_those_of_torchvision(photographs, by_pil):
    orders = [(order, place) for order in permutations(range(3)) for place in range(4)]
    images = photographs(24, 16)
    drawn = Jitter(
        kind=torch.tensor([order for order, _ in orders]),
        factor=torch.tensor([[0.7, 1.4, 0.6]]).expand(24, 3),
        place=torch.tensor([place for _, place in orders]),
        turns=torch.linspace(-0.1, 0.1, 24),
    )
    theirs = by_pil(images, jitter_by_torchvision, *drawn)
    assert torch.equal(apply_jitter(images.float(), drawn), theirs.float())


def test_grey_images_have_brightness_and_contrast_only(photographs, by_pil, generator):
    images = photographs(60, 16, 1)
    drawn = draw(generator, 60, channels=1)
    assert drawn.turns is None
    assert drawn.kind.shape == (60, 2)
    theirs = by_pil(images, lambda i, *p: jitter_by_torchvision(i, *p, 0.0), *drawn[:3])
    assert torch.equal(apply_jitter(images.float(), drawn), theirs.float())


def test_work_on_all_samples_as_on_a_gpu_gives_the_same(photographs, generator, monkeypatch):
    images = photographs(100, 16)
    drawn = draw(generator, 100)
    expected = apply_jitter(images.float(), drawn)
    everything = slice(None)
    monkeypatch.setattr(module, "_rows", lambda _, steps: ([everything] * steps, [everything] * steps, everything))
    assert torch.equal(apply_jitter(images.float(), drawn), expected)


def test_the_24_orders_are_equally_likely(generator):
    drawn = draw(generator, 24000, probability=1.0)
    code = (drawn.kind * torch.tensor([9, 3, 1])).sum(1) * 4 + drawn.place
    counts = code.unique(return_counts=True)[1]
    assert len(counts) == 24
    assert stats.chisquare(counts.numpy()).pvalue > 0.01


def test_amounts_are_uniform_in_their_ranges(generator):
    drawn = draw(generator, 5000, strengths=(0.4, 0.2, 1.5, 0.1), probability=1.0)
    for kind, (lowest, highest) in enumerate([(0.6, 1.4), (0.8, 1.2), (0.0, 2.5)]):
        factors = drawn.factor[drawn.kind == kind]
        assert len(factors) == 5000
        assert stats.kstest(factors, stats.uniform(lowest, highest - lowest).cdf).pvalue > 0.01
    assert stats.kstest(drawn.turns, stats.uniform(-0.1, 0.2).cdf).pvalue > 0.01


def test_order_and_amounts_are_independent(generator):
    drawn = draw(generator, 5000, probability=1.0)
    factors = drawn.factor.gather(1, drawn.kind.argsort(1))
    columns = torch.column_stack([factors, drawn.turns, drawn.place, drawn.kind[:, 0]]).double()
    correlation = torch.corrcoef(columns.T) - torch.eye(6)
    assert correlation.abs().max() < 4 / 5000**0.5


def test_samples_that_are_not_jittered_stay_as_they_are(photographs, generator):
    images = photographs(400, 16).float()
    drawn = draw(generator, 400)
    result = apply_jitter(images, drawn)
    untouched = drawn.place < 0
    assert torch.equal(result[untouched], images[untouched])
    assert 40 < untouched.sum() < 120  # a fifth


@pytest.mark.parametrize(
    "strengths", [(0.4, 0, 0, 0), (0, 0.4, 0, 0), (0, 0, 0.4, 0), (0, 0, 0, 0.1), (0.4, 0, 0.4, 0.1)]
)
def test_a_strength_of_zero_leaves_its_operation_out(strengths, photographs, by_pil, generator):
    images = photographs(40, 16)
    drawn = draw(generator, 40, strengths=tuple(float(s) for s in strengths))
    assert set(drawn.kind.flatten().tolist()) == {kind for kind in range(3) if strengths[kind]}
    assert (drawn.turns is None) == (strengths[3] == 0)
    turns = torch.zeros(40) if drawn.turns is None else drawn.turns
    if drawn.turns is None:  # then the place says only whether a sample is jittered

        def reference(image, kinds, factors, place, _):
            return jitter_by_torchvision(image, kinds, factors, place if place < 0 else 99, 0.0)

    else:
        reference = jitter_by_torchvision
    theirs = by_pil(images, reference, *drawn[:3], turns)
    assert torch.equal(apply_jitter(images.float(), drawn), theirs.float())
