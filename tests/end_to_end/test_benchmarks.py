"""The benchmarks still run on the code as it is; how fast it is they say themselves."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_reliable_set_is_measured_in_every_way(tmp_path):
    subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "reliable.py", "--images", "3000", "--plain-images", "3000", "--json",
         tmp_path / "figures.json"],
        check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert len({run["reliable"] for run in figures["runs"]}) == 1  # every way finds the same labels


def test_students_are_compared_with_supervised_training_on_the_same_labels(tmp_path):
    subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "students.py", "--epochs", "1", "--seeds", "0", "--students",
         "selflabel", "--json", tmp_path / "figures.json"],
        check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures["runs"]["0"]) == {"supervised", "selflabel"}
    assert all(0 <= run["accuracy"] <= 1 for run in figures["runs"]["0"].values())


def test_labelling_is_measured_beside_decoding_alone(tmp_path):
    subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "predict.py", "--images", "30", "--side", "40", "--size", "16",
         "--backbone", "small", "--rounds", "1", "--device", "cpu", "--json", tmp_path / "figures.json"],
        check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["ways"].keys() == {"decoding alone", "the network alone", "predict"}
    assert all(way["images_per_second"] > 0 for way in figures["ways"].values())
