"""What a run shows on each dashboard, read back from the files it left."""

import csv
import json
import subprocess
import sys

import pytest

from command_line import SMALL, Command
from documented_keys import undocumented

TRAINED = {
    "features": {"loss", "accuracy", "lr"},
    "head": {"loss", "consistency", "entropy", "confidence", "effective_clusters", "selection_loss", "lr"},
    "student": {"loss", "kept", "confidence", "effective_clusters", "lr"},
}
"""What is told of each stage and epoch, beside the speed of those that this run has trained."""
ONCE = {"neighbours/purity", "neighbours/self_consistency"}
SCALARS = {f"{stage}/{name}" for stage, names in TRAINED.items() for name in names} | ONCE
SPEEDS = {f"{stage}/images_per_second" for stage in TRAINED}
WORDS = [word for word in SMALL["scan"] if not word.startswith("wandb")]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A command in a folder in which the stages are trained once; answers with the run's own folder."""
    command = Command(tmp_path_factory.mktemp("runs"), WANDB_MODE="offline")

    def start(kind):
        command(*WORDS, f"logger={kind}", f"run_dir={kind}")
        return command.folder / kind

    start("csv")
    return start


def records(folder):
    (log,) = folder.glob("wandb/offline-run-*/*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log)]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    by_type = {}
    for record in map(json.loads, lines):
        by_type.setdefault(record["type"], []).append(record[record["type"]])
    return by_type


def test_wandb_has_scalars_pictures_tables_the_report_and_the_assignments(run):
    folder = run("wandb")
    found = records(folder)
    rows = [row["item"] for row in found["history"]]
    keys = {key.split(".")[0] for row in rows for key in row}  # a picture has clusters.height and the like
    assert keys >= SCALARS
    assert not keys & SPEEDS  # all loaded: told from the history
    assert undocumented(key for key in keys if not key.startswith("_")) == set()
    assert keys >= {"report", "clusters", "least_sure", "projection", "confusion"}
    assert [row["student/epoch"] for row in rows if "student/epoch" in row] == [0, 1, 2]
    assert [row["neighbours/epoch"] for row in rows if "neighbours/purity" in row] == [0]
    summary = {name.split(".")[0] for update in found["summary"] for name in update["update"]}
    assert undocumented(name for name in summary if not name.startswith("_")) == set()
    assert summary >= {"acc", "silhouette", "used_clusters", "baseline/acc", "neighbour_purity", "student/acc"}
    media = {path.parent.name for path in folder.glob("wandb/offline-run-*/files/media/*/*")}
    assert media == {"html", "images", "table"}
    (table,) = folder.glob("wandb/offline-run-*/files/media/table/projection*")
    assert json.loads(table.read_text())["columns"] == ["x", "y", "id", "cluster", "confidence", "label"]
    (artifact,) = (some for some in found["artifact"] if some["type"] == "assignments")
    assert {entry["path"] for entry in artifact["manifest"]["contents"]} == {
        "assignments.parquet", "metrics.json", "config.yaml"
    }  # fmt: skip


def test_the_csv_file_has_a_row_for_each_epoch_also_of_stages_that_were_loaded(run):
    with (run("csv") / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) >= SCALARS
    assert [float(row["student/kept"]) for row in rows if row["student/kept"]]
    assert len([row for row in rows if row["features/loss"]]) == 3
    assert [row["acc"] for row in rows if row["acc"]] == [rows[-1]["acc"]]


def test_tensorboard_has_the_same_scalars_and_the_picture_of_the_clusters(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run("tensorboard") / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) >= SCALARS | {"acc", "baseline/acc"}
    assert undocumented(events.Tags()["scalars"]) == set()
    assert [event.step for event in events.Scalars("head/entropy")] == [0, 1, 2]
    assert [event.step for event in events.Scalars("neighbours/self_consistency")] == [0]
    assert events.Tags()["images"] == ["clusters"]
