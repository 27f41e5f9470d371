"""Every part is three files of one stem: code, config, test."""

from pathlib import Path

import pytest

from clusterlab.data.sources.base import Source
from clusterlab.models.backbones.base import Backbone
from clusterlab.registry import PACKAGES, find, own_names
from clusterlab.stage import Stage

ROOT = Path(__file__).parents[2]
CONTRACTS = {"data": Source, "backbone": Backbone}
PARTS = [(group, name) for group in PACKAGES for name in own_names(group)]


def part(group, name):
    return find(group, name, CONTRACTS.get(group, Stage))


def test_each_group_has_parts():
    assert all(own_names(group) for group in PACKAGES)


@pytest.mark.parametrize(("group", "name"), PARTS)
def test_a_part_has_its_config_and_its_test(group, name):
    package = Path(*PACKAGES[group].split(".")[1:])
    assert (ROOT / "conf" / group / f"{name}.yaml").is_file()
    assert (ROOT / "tests" / "unit" / package / f"test_{name}.py").is_file()


@pytest.mark.parametrize("group", PACKAGES)
def test_a_config_has_its_part(group):
    stems = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")}
    assert stems <= set(own_names(group))


@pytest.mark.parametrize(("group", "name"), PARTS)
def test_a_part_is_found_by_its_file_name(group, name):
    assert issubclass(part(group, name), CONTRACTS.get(group, Stage))


@pytest.mark.parametrize(("group", "name"), PARTS)
def test_a_value_has_one_place_and_settings_have_no_defaults_of_their_own(group, name):
    fields = part(group, name).Settings.model_fields
    assert [field for field, info in fields.items() if not info.is_required()] == []
