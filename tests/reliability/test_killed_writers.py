"""What writes files, ended in the middle

The outputs of a run, the table and the sorted files of `predict`, the folder of `export`.
"""

import random
import shutil
import signal

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from clusterlab.output.model_folder import read_model
from killed import When, leftovers, run

PHOTOS = 40
SEEDED = ("assignments.csv", "clusters.png", "history.csv", "model/model.safetensors")
"""Outputs whose bytes depend on the settings alone."""


@pytest.fixture(scope="module")
def prepared(unbroken, tmp_path_factory):
    """A finished run and images."""
    folder = tmp_path_factory.mktemp("prepared")
    whole = unbroken("scan")
    shutil.copytree(whole.folder / "outputs", folder / "outputs")
    shutil.move(whole.results(folder), folder / "run")
    for number, pixels in enumerate(load_digits().images[:PHOTOS]):
        place = folder / "photos" / f"{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15).astype(np.uint8)).save(place / f"{number // 3}.png")
    return folder


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def cases(prepared, tmp_path, words, kills, seed, check, compared):
    """End `words` at a random change of files or moment; the same words again make what an unbroken command makes."""
    whole_folder = tmp_path / "whole"
    shutil.copytree(prepared, whole_folder)
    whole = run(whole_folder, *words)
    assert whole.code == 0, whole.output
    expected = {place: content(whole_folder / place) for place in compared}
    for case in range(kills):
        rng = random.Random(f"{seed} {words[0]} {case}")
        folder = tmp_path / str(case)
        shutil.copytree(prepared, folder)
        by_change = When(change=rng.randrange(whole.counted("changes")))
        number = rng.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
        when = rng.choice((by_change, When(signal=number, after=rng.uniform(0, whole.seconds))))
        try:
            ended = run(folder, *words, when=when)
            check(folder, expected)
            if when.signal != signal.SIGKILL and ended.code:
                assert ended.code == 128 + when.signal, ended.output
                assert not leftovers(folder)
            again = run(folder, *words)
            assert again.code == 0, again.output
            assert {place: content(folder / place) for place in compared} == expected
            assert not leftovers(folder)
        except BaseException as error:
            error.add_note(f"--kill-seed {seed}, case {case}: {when}")
            raise
    return kills


def test_predict_killed_at_any_moment_leaves_whole_files_only(prepared, tmp_path, kills, kill_seed, tried):
    """`predict --copy-to`, ended at random: the table whole or not there, copies whole, nothing else left"""

    def check(folder, expected):
        for place, files in expected.items():
            for path, found in content(folder / place).items():
                if not path.name.startswith("."):
                    assert found == files[path]

    words = ("predict", "run", "photos", "--output", "tables/new.csv", "--copy-to", "sorted", "--batch-size", "8")
    tried(cases(prepared, tmp_path, words, kills, kill_seed, check, ("tables", "sorted")))


def test_export_killed_at_any_moment_leaves_a_whole_folder_or_none(prepared, tmp_path, kills, kill_seed, tried):
    """`export`, ended at random: the whole folder or none"""

    def check(folder, expected):
        if (folder / "exported").exists():
            assert content(folder / "exported") == expected["exported"]
            shutil.rmtree(folder / "exported")  # the same words write over nothing

    words = ("export", "run", "--output", "exported")
    tried(cases(prepared, tmp_path, words, kills, kill_seed, check, ("exported",)))


def test_outputs_killed_while_they_replace_older_ones_are_never_taken_for_one_run(
    prepared, unbroken, tmp_path, kills, kill_seed, tried
):
    """Outputs ended at random while they replace those of other settings: metrics.json stands beside its own alone"""
    words = (*unbroken("scan").words, "run_dir=run")
    other = (*words, "student.max_epochs=1", "map.max_images=50")
    (began := tmp_path / "began").mkdir()
    shutil.copytree(prepared, began, dirs_exist_ok=True)
    older = run(began, *other)
    assert older.code == 0, older.output
    outputs = {name: (began / "run" / name).read_bytes() for name in SEEDED}
    newer = {name: (prepared / "run" / name).read_bytes() for name in SEEDED}
    assert all(outputs[name] != newer[name] for name in SEEDED)
    last = run(tmp_path_of(tmp_path, began, "measured"), *words)
    for case in range(kills):
        rng = random.Random(f"{kill_seed} outputs {case}")
        folder = tmp_path_of(tmp_path, began, str(case))
        when = When(change=rng.randrange(last.counted("changes")))
        try:
            run(folder, *words, when=when)
            if (folder / "run" / "metrics.json").exists():
                assert {name: (folder / "run" / name).read_bytes() for name in SEEDED} in (outputs, newer)
                read_model(folder / "run" / "model")
            assert run(folder, *words).code == 0
            assert {name: (folder / "run" / name).read_bytes() for name in SEEDED} == newer
            assert not leftovers(folder)
        except BaseException as error:
            error.add_note(f"--kill-seed {kill_seed}, case {case}: {when}")
            raise
    tried(kills)


def tmp_path_of(tmp_path, began, name):
    return shutil.copytree(began, tmp_path / name)
