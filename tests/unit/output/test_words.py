from dataclasses import replace

import pytest

from clusterlab.output.words import (
    counted,
    decimal,
    duration,
    headline,
    kind_of_images,
    percent,
    protocol,
    short_number,
    shortened,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (185, "3 min 5 s"),
        (3599.9, "1 h 0 min"),
        (4330, "1 h 12 min"),
    ],
)
def test_durations_read_well(seconds: float, text: str):
    assert duration(seconds) == text


def test_numbers_read_well():
    assert percent(0.8161) == "81.6\u00a0%"
    assert decimal(-0.0516) == "\u22120.052"
    assert decimal(-0.0004) == "0.000"
    assert (counted(1, "file"), counted(1797, "image")) == ("1 file", "1,797 images")


def test_protocol_says_what_was_trained_on_and_scored(make_run):
    images = make_run(40, num_clusters=2).images
    assert protocol(images) == "trained on the 30 images of the train split, scored on the 10 of the test split"
    assert protocol(replace(images, protocol="all")) == "trained and scored on all 40 images"
    scored = tuple("unlabeled" if split == "train" else split for split in images.splits[:20]) + images.splits[20:]
    images = replace(images, splits=scored)
    rest = "; the 15 of the unlabeled split are for features only"
    assert protocol(images) == (
        f"trained on the 15 images of the train split, scored on the 10 of the test split{rest}"
    )
    assert protocol(replace(images, protocol="all")) == (
        f"trained and scored on the 25 images of the train and the test split{rest}"
    )
    assert kind_of_images(images) == "40 grey images of 8 × 8 pixels"


def test_a_long_text_keeps_both_ends():
    assert shortened("abc", 3) == "abc"
    assert shortened("/".join(f"folder{i}" for i in range(20)) + "/image.jpg", 24) == "folder0…lder19/image.jpg"
    assert len(shortened("x" * 1000, 90)) == 90


def test_small_numbers_have_a_proper_minus():
    assert (short_number(-11.174), short_number(3e-5)) == ("\u221211.17", "3e\u221205")


def test_the_headline_has_the_baseline_beside_it():
    rival = {"name": "k-means on simclr features", "acc": 0.5, "silhouette": 0.25}
    measured = {"acc": 0.816, "silhouette": 0.4, "used_clusters": 10}
    own = "81.6\u00a0% of the images lie in the cluster of their class."
    assert headline(measured | {"baseline": rival}) == (own, "k-means on simclr features: 50.0\u00a0%")
    assert headline(measured) == (own, "")
    del measured["acc"]
    own = "The images lie in 10 clusters, with a silhouette of 0.400."
    assert headline(measured | {"baseline": rival}) == (own, "k-means on simclr features: 0.250")
    assert headline(measured | {"baseline": rival | {"silhouette": None}}) == (own, "")
    alone = {"silhouette": None, "used_clusters": 1, "baseline": rival}
    assert headline(alone) == ("The images lie in 1 cluster.", "")
