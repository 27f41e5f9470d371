"""The benchmarks still run on the code as it is; how fast it is they say themselves."""

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


def test_the_reliable_set_is_measured_in_every_way(figures):
    found = figures("reliable", "--images", "3000", "--plain-images", "3000")
    assert len({run["reliable"] for run in found["runs"]}) == 1  # every way finds the same labels


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


@pytest.mark.slow
def test_the_head_stage_of_spice_is_measured_beside_the_plain_way(figures):
    assert figures("spice_head", "--images-per-iteration", "300", "--repeats", "2")


def test_labelling_is_measured_beside_decoding_alone(figures):
    words = {"images": 30, "side": 40, "size": 16, "backbone": "small", "rounds": 1, "device": "cpu"}
    found = figures("predict", *(f"--{name}={value}" for name, value in words.items()))
    assert found["ways"].keys() == {"decoding alone", "the network alone", "predict"}
    assert all(way["images_per_second"] > 0 for way in found["ways"].values())


def test_what_one_image_more_costs_is_measured_for_every_stage(figures):
    stages = figures("growth", "--sizes", "500", "750", "--repeats", "1")["stages"]
    assert len(stages) == 13
    assert all(stage["images"] == [500, 750] for stage in stages)
    (epoch,) = (stage for stage in stages if stage["stage"] == "SimCLR, an epoch")
    assert min(epoch["microseconds_per_image"]) > 0
