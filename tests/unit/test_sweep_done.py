import json
import os

import pytest

from clusterlab import sweep_done
from clusterlab.sweep_done import finished, key_of_run, mark_finished

VALUES = {"seed": 0, "head": {"entropy_weight": 5.0}, "data": {"name": "digits", "root": None}}


@pytest.fixture
def outputs(tmp_path):
    """A folder with the outputs of a run."""
    (tmp_path / "metrics.json").write_text(json.dumps({"acc": 0.5}), encoding="utf-8")
    (tmp_path / "assignments.csv").write_text("id,cluster\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def photos(tmp_path):
    """A folder of files as data, and the values of a run on it."""
    for name in ("cats/1.png", "dogs/2.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"pixels")
    (tmp_path / "photos" / "again").symlink_to(tmp_path / "photos")
    return tmp_path / "photos", VALUES | {"data": {"name": "folder", "root": str(tmp_path / "photos")}}


def test_a_finished_run_is_found_with_its_metrics(outputs):
    assert finished(outputs, "key") is None
    assert mark_finished(outputs, "key") == {"acc": 0.5}
    assert finished(outputs, "key") == {"acc": 0.5}


def test_other_settings_are_another_run(outputs):
    mark_finished(outputs, "key")
    assert finished(outputs, "another") is None


@pytest.mark.parametrize("change", [
    lambda folder: (folder / "assignments.csv").write_text("id,cluster\n1,2\n", encoding="utf-8"),
    lambda folder: (folder / "metrics.json").write_text("{}", encoding="utf-8"),
    lambda folder: (folder / "assignments.csv").unlink(),
    lambda folder: (folder / "finished.json").write_text("{", encoding="utf-8"),
])  # fmt: skip
def test_outputs_that_changed_are_not_done(outputs, change):
    mark_finished(outputs, "key")
    change(outputs)
    assert finished(outputs, "key") is None


def test_the_log_may_change(outputs):
    mark_finished(outputs, "key")
    (outputs / "clusterlab.log").write_text("later", encoding="utf-8")
    assert finished(outputs, "key") is not None


def test_where_it_is_not_known_what_a_run_depends_on_it_is_never_done(outputs):
    values = VALUES | {"data": {"name": "of_another_package", "root": None}}
    assert key_of_run(values) is None
    mark_finished(outputs, None)
    assert finished(outputs, None) is None


def test_the_key_changes_with_settings_code_and_versions(monkeypatch, tmp_path):
    keys = [key_of_run(VALUES), key_of_run(VALUES | {"head": {"entropy_weight": 2.0}})]
    (tmp_path / "conf").mkdir()
    (tmp_path / "part.py").write_text("version = 1\n", encoding="utf-8")
    monkeypatch.setattr(sweep_done, "config_folders", lambda: {"acme": tmp_path / "conf"})
    keys.append(key_of_run(VALUES))
    (tmp_path / "part.py").write_text("version = 2\n", encoding="utf-8")
    keys.append(key_of_run(VALUES))
    monkeypatch.setattr(sweep_done, "versions", lambda: {"torch": "0"})
    keys.append(key_of_run(VALUES))
    assert key_of_run(VALUES) == keys[-1]
    assert len(set(keys)) == 5


@pytest.mark.parametrize("change", [
    lambda root: (root / "cats/1.png").write_bytes(b"others"),
    lambda root: (root / "cats/3.png").write_bytes(b"pixels"),
    lambda root: (root / "cats/1.png").unlink(),
    lambda root: (root / "cats/1.png").rename(root / "dogs/1.png"),
    lambda root: (root / "cats/1.png").chmod(0),
])  # fmt: skip
def test_the_key_changes_with_the_files_of_the_data(photos, change):
    root, values = photos
    for path in root.rglob("*.png"):
        os.utime(path, ns=(1, 1))
    before = key_of_run(values)
    assert key_of_run(values) == before
    change(root)
    assert key_of_run(values) != before


def test_one_file_as_data_is_watched_and_a_missing_one_is_no_error(tmp_path):
    path = tmp_path / "images.npy"
    values = VALUES | {"data": {"name": "arrays", "root": str(path)}}
    missing = key_of_run(values)
    path.write_bytes(b"12")
    assert key_of_run(values) != missing
