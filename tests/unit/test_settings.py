import pytest

from clusterlab.settings import Settings


def test_settings_refuse_what_is_not_a_number():
    class Number(Settings):
        value: float

    for text in ('{"value": NaN}', '{"value": Infinity}', '{"value": "1"}', "{}", '{"value": 1, "other": 2}'):
        with pytest.raises(ValueError, match="validation error"):
            Number.model_validate_json(text)
