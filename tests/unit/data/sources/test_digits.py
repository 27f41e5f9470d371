import numpy as np
import pytest
from sklearn.datasets import load_digits

from clusterlab.errors import UserError


def test_every_digit_is_there_enlarged_with_its_label(load):
    images = load("digits")
    assert images.pixels.shape == (1797, 1, 16, 16)
    assert images.pixels.dtype == np.uint8
    assert images.ids == tuple(str(i) for i in range(1797))
    assert set(images.splits) == {"train"}
    assert images.sealed_labels is not None
    assert images.sealed_labels.names == tuple("0123456789")
    assert np.array_equal(images.sealed_labels.values, load_digits().target)


def test_the_shades_span_all_of_eight_bits_and_stay_where_they_were(load):
    scans = load_digits().images
    same_size = load("digits", image_size=8).pixels[:, 0]
    assert np.abs(same_size - scans * 255 / 16).max() <= 0.5
    assert same_size.max() == 255
    enlarged = load("digits").pixels[:, 0].astype(float)
    halved = enlarged.reshape(-1, 8, 2, 8, 2).mean((2, 4))
    assert np.corrcoef(halved.ravel(), scans.ravel())[0, 1] > 0.95


def test_mean_and_deviation_of_the_config_are_those_of_the_pixels(load, settings_of):
    pixels, settings = load("digits").pixels / 255, settings_of("digits")
    assert settings.mean[0] == pytest.approx(pixels.mean(), abs=0.02)
    assert settings.std[0] == pytest.approx(pixels.std(), abs=0.02)


def test_the_second_load_enlarges_nothing(load, monkeypatch):
    first = load("digits")
    monkeypatch.setattr("clusterlab.data.sources.digits.square_array", None)
    second = load("digits")
    assert np.array_equal(first.pixels, second.pixels)
    assert first.fingerprint == second.fingerprint


def test_there_is_no_test_split(load):
    with pytest.raises(UserError, match=r"^digits has no test split .* use data\.protocol=all$"):
        load("digits", protocol="split")


def test_a_limit_takes_a_part_of_all_classes(load):
    images = load("digits", limit=200)
    assert len(images) == 200
    assert list(map(int, images.ids)) == sorted(map(int, images.ids))
    assert set(images.sealed_labels.values) == set(range(10))
