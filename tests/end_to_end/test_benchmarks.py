"""The benchmarks still run on the code as it is; how fast it is they say themselves."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def figures(tmp_path):
    """Run a benchmark and return what it wrote."""

    def run(name, *words):
        file = tmp_path / "figures.json"
        command = [sys.executable, ROOT / "benchmarks" / f"{name}.py", *words, "--json", file]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=600)
        return json.loads(file.read_text())

    return run


def test_every_row_compares_the_same_work_and_tells_all_that_the_table_shows(tmp_path):
    """A script ends with an error where the two sides find different results."""
    command = [sys.executable, ROOT / "benchmarks" / "all_rows.py", "--trial", "--folder", tmp_path]
    shown = subprocess.run(
        command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=600, stdout=subprocess.PIPE, text=True
    ).stdout
    (file,) = tmp_path.iterdir()
    written = json.loads(file.read_text())
    assert written["command"] == "make benchmark"
    assert written["growth"] is None
    assert str(written["machine"]["cores"]) in file.stem.split("-")
    names = [row["row"] for row in written["rows"]]
    assert names[:11] == [
        "contrastive augmentation",
        "strong augmentation",
        "SimCLR training step",
        "SCAN epoch, whole network",
        "SCAN epoch, frozen backbone",
        "SPICE outer iteration",
        "prototype selection",
        "neighbours",
        "neighbours, peak memory",
        "SCAN selection, heads: 1",
        "ACC, NMI and ARI",
    ]
    assert len(set(names)) == len(names)
    for row in written["rows"]:
        assert row.keys() == {
            "row", "work", "plain", "unit", "ours", "theirs", "ratio", "lowest", "highest", "turns", "at_least", "note"
        }  # fmt: skip
        assert row["unit"] in {"s", "images/s", "MB"}
        better = row["ours"] / row["theirs"] if row["unit"] == "images/s" else row["theirs"] / row["ours"]
        assert row["ratio"] == pytest.approx(better, rel=0.01)  # of one turn
        assert row["lowest"] <= row["ratio"] <= row["highest"]
        (line,) = [line for line in shown.partition("all rows")[2].splitlines() if line.startswith(f"{row['row']:57}")]
        assert line.endswith("BELOW") == (row["at_least"] is not None and row["ratio"] < row["at_least"])


def test_students_are_compared_with_supervised_training_on_the_same_labels(figures):
    found = figures("students", "--epochs", "1", "--seeds", "0", "--students", "selflabel")
    assert set(found["runs"]["0"]) == {"supervised", "selflabel"}
    assert all(0 <= run["accuracy"] <= 1 for run in found["runs"]["0"].values())


@pytest.mark.slow
def test_a_large_set_is_decoded_opened_and_trained_on_in_every_way(figures):
    found = figures("large_set", "--images", "64", "--size", "16", "--batch", "8", "--steps", "2")
    trained = {name for name, phase in found["phases"].items() if "trained_per_second" in phase}
    assert {name.removeprefix("training, ") for name in trained} == {
        "in memory", "through the map", "read", "read ahead", "read, dropped", "read ahead, dropped"
    }  # fmt: skip
    assert all(phase["seconds"] > 0 for name, phase in found["phases"].items() if name.startswith("decoding"))


@pytest.mark.slow
def test_heads_are_trained_on_features_from_a_file(figures, tmp_path):
    words = {"images": 300, "eval-images": 50, "clusters": 7, "batch": 32, "steps": 3, "folder": tmp_path}
    found = figures("pretrained_heads", *(f"--{name}={value}" for name, value in words.items()))
    assert found["steps"] == 3
    assert found["images_per_second"] > 0


def test_labelling_is_measured_beside_decoding_alone(figures):
    words = {"images": 30, "side": 40, "size": 16, "backbone": "small", "rounds": 1, "device": "cpu"}
    found = figures("predict", *(f"--{name}={value}" for name, value in words.items()))
    assert found["ways"].keys() == {"decoding alone", "the network alone", "predict"}
    assert all(way["images_per_second"] > 0 for way in found["ways"].values())


def test_the_plain_way_leads_to_scores_of_the_same_run(figures):
    words = ["data.limit=150", "trainer.max_epochs=1", "trainer.max_steps_per_epoch=2", "map.max_images=50"]
    found = figures("fast_and_plain", "--seeds", "0", "--words", *words)
    assert [run["way"] for run in found["runs"]] == ["fast", "plain"]
    assert found["runs"][0]["stage_seconds"].keys() == found["runs"][1]["stage_seconds"].keys()
    # Other draws and another precision leave their mark on the features.
    scores = [(run["acc"], run["nmi"], run["baseline_acc"]) for run in found["runs"]]
    assert scores[0] != scores[1]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("AMD EPYC 9B45 64-Core Processor 2 cores", "amd-epyc-9b45-2-cores"),
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz 16 cores", "intel-xeon-platinum-8481c-16-cores"),
        ("NVIDIA H200", "nvidia-h200"),
    ],
)
def test_the_file_of_a_machine_has_a_short_name(monkeypatch, name, stem):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    assert importlib.import_module("common").file_stem(name) == stem


def test_training_steps_are_measured_beside_the_same_steps_fed_by_workers(figures, tmp_path):
    found = figures("gpu_steps", "--trial", "--workers", "1", "--steps", "SimCLR", "FixMatch", "--profile", tmp_path)
    assert [row["row"] for row in found["rows"]] == ["SimCLR step", "FixMatch step"]
    assert all(row["ours"] > 0 and row["theirs"] > 0 for row in found["rows"])
    assert all(row["share_of_matrix_rate"] > 0 for row in found["rows"])
    assert all("augmentation" in (tmp_path / f"{name}.txt").read_text() for name in found["held_back"])


@pytest.mark.slow
def test_the_steps_of_every_method_are_measured(figures):
    found = figures("gpu_steps", "--trial", "--workers", "1")
    assert len(found["rows"]) == 6


def test_what_one_image_more_costs_is_measured_for_every_stage(figures):
    stages = figures("growth", "--sizes", "500", "750", "--repeats", "1")["stages"]
    assert len(stages) == 13
    assert all(stage["images"] == [500, 750] for stage in stages)
    (epoch,) = (stage for stage in stages if stage["stage"] == "SimCLR, an epoch")
    assert min(epoch["microseconds_per_image"]) > 0
