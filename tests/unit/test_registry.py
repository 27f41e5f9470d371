from importlib.metadata import EntryPoint

import pytest

from clusterlab import registry
from clusterlab.errors import UserError
from clusterlab.heads.scan import Scan
from clusterlab.stage import Stage


def test_a_part_is_the_class_in_the_file_of_its_name():
    assert registry.find("head", "scan", Stage).__name__ == "Scan"


def test_an_unknown_part_is_answered_with_the_nearest_and_the_choices():
    with pytest.raises(UserError, match=r"head=scam is not known \(did you mean scan\?\); choices: .*kmeans, scan"):
        registry.find("head", "scam", Stage)


def test_a_part_of_another_package_is_found_by_its_entry_point(monkeypatch):
    point = EntryPoint("mine", "clusterlab.heads.scan:Scan", "clusterlab.heads")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == point.group else [])
    assert registry.find("head", "mine", Stage) is Scan
    assert "mine" in registry.names("head")


def test_an_entry_point_that_is_no_part_is_refused(monkeypatch):
    point = EntryPoint("mine", "pathlib:Path", "clusterlab.heads")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    with pytest.raises(UserError, match=r"head=mine of pathlib \(pathlib:Path\) is not a Stage"):
        registry.find("head", "mine", Stage)
