import csv
import json
import time
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from clusterlab.history import read_history
from clusterlab.output import write
from clusterlab.output.model_folder import read_model
from clusterlab.output.write import write_outputs

FILES = {
    "assignments.csv",
    "assignments.parquet",
    "clusters.png",
    "config.yaml",
    "history.csv",
    "metrics.json",
    "model/SHA256SUMS",
    "model/config.json",
    "model/model.safetensors",
    "report.html",
}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_leaves_its_files_and_nothing_else(make_run, tmp_path: Path):
    run = make_run()
    metrics = write_outputs(run, tmp_path / "a" / "run")
    assert contents(tmp_path / "a" / "run").keys() == FILES
    assert json.loads((tmp_path / "a" / "run" / "metrics.json").read_text()) == metrics
    rows = csv.DictReader((tmp_path / "a" / "run" / "assignments.csv").read_text().splitlines())
    assert [int(row["cluster"]) for row in rows] == run.assignments.probs.argmax(dim=1).tolist()


def test_the_same_run_leaves_the_same_bytes_also_over_an_earlier_one(make_run, tmp_path: Path):
    write_outputs(make_run(), tmp_path / "a")
    write_outputs(make_run(60, num_clusters=3), tmp_path / "b")
    write_outputs(make_run(), tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_labels_change_no_cluster_and_no_model(make_run, tmp_path: Path):
    write_outputs(make_run(), tmp_path / "a")
    write_outputs(make_run(labelled=False), tmp_path / "b")
    with_labels, without = contents(tmp_path / "a"), contents(tmp_path / "b")
    for name in ("clusters.png", "history.csv", "model/model.safetensors", "model/SHA256SUMS", "model/config.json"):
        assert with_labels[name] == without[name]
    rows = csv.DictReader(with_labels["assignments.csv"].decode().splitlines())
    stripped = [{name: value for name, value in row.items() if name != "label"} for row in rows]
    assert stripped == list(csv.DictReader(without["assignments.csv"].decode().splitlines()))


def test_config_comes_back_from_yaml_with_its_types(make_run, tmp_path: Path):
    run = make_run()
    write_outputs(run, tmp_path / "run")
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()) == run.config


def test_history_holds_the_rows_of_every_trained_stage(make_run, tmp_path: Path):
    run = make_run()
    write_outputs(run, tmp_path / "run")
    assert read_history(tmp_path / "run" / "history.csv") == read_history(run.stages[0].folder / "history.csv")
    assert len(run.history().rows) == 24


def test_the_model_holds_what_predict_needs(make_run, tmp_path: Path):
    run = make_run()
    write_outputs(run, tmp_path / "run")
    model = read_model(tmp_path / "run" / "model")
    assert model.config == {**run.model, "result": run.result, "num_clusters": 10, "hidden": None, "normalise": True}
    torch.testing.assert_close(model.network, run.assignments.network)
    assert model.prototypes.vectors.shape == (10, 64)
    assert model.prototypes.fences.isfinite().all()


def test_names_beside_the_report_stand_in_it_and_in_the_table(make_run, tmp_path: Path):
    (tmp_path / "names.yaml").write_text(f"result: {make_run().result}\nnames: {{3: threes}}\n", encoding="utf-8")
    write_outputs(make_run(), tmp_path)
    assert ">threes<" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '"threes"' in (tmp_path / "assignments.csv").read_text(encoding="utf-8")


def test_overview_has_a_row_for_every_cluster_in_use(make_run, tmp_path: Path):
    write_outputs(make_run(), tmp_path / "run")
    with Image.open(tmp_path / "run" / "clusters.png") as picture:
        assert picture.size == (96 + 12 * 72, 10 * 72 + 8)


def test_metrics_come_last(make_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> str:
        raise RuntimeError("no page")

    monkeypatch.setattr(write, "render", fail)
    with pytest.raises(RuntimeError, match="no page"):
        write_outputs(make_run(), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_all_digits_are_written_in_seconds_and_little_space(make_run, tmp_path: Path):
    run = make_run(1797)
    began = time.perf_counter()
    write_outputs(run, tmp_path / "run")
    assert time.perf_counter() - began < 5  # measured: 0.5
    assert (tmp_path / "run" / "report.html").stat().st_size < 400_000
