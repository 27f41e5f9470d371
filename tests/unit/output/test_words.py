from dataclasses import replace

import pytest

from clusterlab.output.words import counted, decimal, duration, kind_of_images, percent, protocol


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
