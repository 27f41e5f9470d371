import pytest

from clusterlab.choices import config_folder
from clusterlab.errors import UserError
from clusterlab.yaml_size import DEEPEST, MOST_BYTES, MOST_VALUES, see_size


def seen(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    see_size(path)


def test_an_alias_counts_as_often_as_it_stands(tmp_path):
    # The list is a value and holds nine more; two mappings of two keys, and the lists of aliases, are values, too.
    named, times = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]", MOST_VALUES // 10
    seen(tmp_path, f"{named}\nb: [{', '.join(['*a'] * (times - 2))}]")
    with pytest.raises(UserError, match=rf"a\.yaml holds more than {MOST_VALUES} values"):
        seen(tmp_path, f"{named}\nb: [{', '.join(['*a'] * times)}]")


@pytest.mark.parametrize(
    "text", ["a: &a {b: 1}\nc: {<<: *a}\nd: *a", "", "a: *unknown", "a: [", "a: '", "\ta", "a: &a x\nb: &a y"]
)
def test_what_is_small_or_no_yaml_is_left_to_whoever_reads_it(text, tmp_path):
    seen(tmp_path, text)


def test_the_limits_are_those_that_are_told(tmp_path):
    seen(tmp_path, "[" * DEEPEST + "]" * DEEPEST)
    seen(tmp_path, "#" * MOST_BYTES)
    seen(tmp_path, f"[{'x,' * (MOST_VALUES - 1)}]")
    for text in ("[" * (DEEPEST + 1), "#" * (MOST_BYTES + 1), f"[{'x,' * MOST_VALUES}]"):
        with pytest.raises(UserError, match=rf"more than ({DEEPEST}|{MOST_BYTES}|{MOST_VALUES}) "):
            seen(tmp_path, text)


def test_the_shipped_configs_are_far_below_the_limits():
    paths = [*config_folder().rglob("*.yaml")]
    assert len(paths) > 50
    for path in paths:
        see_size(path)
