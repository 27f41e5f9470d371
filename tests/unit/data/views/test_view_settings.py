import pytest
from pydantic import ValidationError

from clusterlab.data.views.settings import RandAugmentSettings, StrongSettings, ViewSettings

STRONG = {"flip_probability": 0.5, "num_operations": 2, "operations": {"rotate": (-30.0, 30.0)}, "cutout_length": 8}
RANDAUGMENT = {"num_operations": 3, "ranges": {"rotate": (-20.0, 20.0)}, "cutout_share": 0.5}
CONTRASTIVE = {
    "crop_scale": (0.2, 1.0), "crop_ratio": (0.75, 1.3333), "rotate_degrees": 0.0, "flip_probability": 0.5,
    "jitter": (0.4, 0.4, 0.4, 0.1), "jitter_probability": 0.8, "grayscale_probability": 0.2, "blur_probability": 0.0,
    "blur_sigma": (0.1, 2.0),
}  # fmt: skip


def views(*, strong=None, randaugment=None):
    return ViewSettings.model_validate(
        {
            "size": 32,
            "contrastive": CONTRASTIVE,
            "weak": {"flip_probability": 0.5, "padding": 4},
            "strong": STRONG | (strong or {}),
            "randaugment": RANDAUGMENT | (randaugment or {}),
        }
    )


def test_sound_settings_are_taken():
    assert StrongSettings(**STRONG).operations == {"rotate": (-30.0, 30.0)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operations": {"rotate": (30.0, -30.0)}}, "lower bound comes first"),
        ({"operations": {}}, "no operations to draw"),
        ({"operations": {"posterize": (0.1, 0.9)}}, "posterize goes from 1 to 8"),
        ({"operations": {"translate_x": (-3.0, 3.0)}}, "translate_x goes from -1 to 1"),
        ({"operations": {"rotat": (-30.0, 30.0)}}, "rotat"),
        ({"flip_probability": 1.5}, "less than or equal to 1"),
    ],
)
def test_values_without_sense_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        StrongSettings(**(STRONG | changes))


def test_no_operations_are_needed_where_none_is_drawn():
    assert StrongSettings(**(STRONG | {"operations": {}, "num_operations": 0})).operations == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ranges": {"rotate": (20.0, -20.0)}}, "lower bound comes first"),
        ({"ranges": {"translate_x": (-3.0, 3.0)}}, "translate_x goes from -1 to 1"),
        ({"ranges": {"rotat": (-20.0, 20.0)}}, "rotat"),
        ({"cutout_share": 1.5}, "less than or equal to 1"),
        ({"num_operations": -1}, "greater than or equal to 0"),
    ],
)
def test_values_without_sense_are_refused_for_randaugment_too(changes, message):
    with pytest.raises(ValidationError, match=message):
        RandAugmentSettings(**(RANDAUGMENT | changes))


def test_a_range_for_an_operation_that_cannot_be_drawn_is_one_error_that_names_it():
    assert views().randaugment.ranges == {"rotate": (-20.0, 20.0)}
    with pytest.raises(
        ValidationError, match=r"1 validation error[\s\S]*randaugment\s.*ranges has shear_x, which is not among"
    ):
        views(randaugment={"ranges": {"rotate": (-20.0, 20.0), "shear_x": (-0.3, 0.3)}})


def test_randaugment_needs_operations_only_where_it_draws_some():
    none = {"operations": {}, "num_operations": 0}
    with pytest.raises(ValidationError, match=r"num_operations is 3, but strong.operations has none to draw"):
        views(strong=none, randaugment={"ranges": {}})
    assert views(strong=none, randaugment={"ranges": {}, "num_operations": 0}).randaugment.num_operations == 0
