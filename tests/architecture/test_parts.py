"""Every part is three files of one stem: code, config, test."""

from pathlib import Path

import pytest

from clusterlab.registry import PACKAGES, find, names

ROOT = Path(__file__).parents[2]
CONFIG_FOLDERS = {
    "features": "features", "head": "head", "student": "student", "computed": "computed", "data": "data",
    "backbone": "backbone",
}  # fmt: skip
PARTS = [(group, name) for group in PACKAGES for name in names(group)]


def test_each_group_has_parts():
    assert set(CONFIG_FOLDERS) == set(PACKAGES)
    assert all(names(group) for group in PACKAGES)


@pytest.mark.parametrize(("group", "name"), PARTS)
def test_a_part_has_its_config_and_its_test(group, name):
    package = Path(*PACKAGES[group][0].split(".")[1:])
    assert (ROOT / "conf" / CONFIG_FOLDERS[group] / f"{name}.yaml").is_file()
    assert (ROOT / "tests" / "unit" / package / f"test_{name}.py").is_file()


@pytest.mark.parametrize(("group", "folder"), CONFIG_FOLDERS.items())
def test_a_config_has_its_part(group, folder):
    stems = {path.stem for path in (ROOT / "conf" / folder).glob("*.yaml")}
    assert stems <= set(names(group))


@pytest.mark.parametrize(("group", "name"), PARTS)
def test_a_part_is_found_by_its_file_name(group, name):
    assert issubclass(find(group, name), PACKAGES[group][1])
