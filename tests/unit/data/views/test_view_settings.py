import pytest
from pydantic import ValidationError

from clusterlab.data.views.settings import StrongSettings

STRONG = {"flip_probability": 0.5, "num_operations": 2, "operations": {"rotate": (-30.0, 30.0)}, "cutout_length": 8}


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
