"""A sweep: every job in its own process and folder, a failing one stops no other, and a second time only the rest."""

import csv
import re
import shutil
import signal

import pytest
import yaml

from clusterlab.sweep import objective
from clusterlab.sweep_records import records
from command_line import Command

SMALL = (
    "method=kmeans", "trainer=smoke", "backbone.width=8", "data.limit=300", "map.max_images=60",
    "wandb.mode=disabled",
)  # fmt: skip
GRID = ("-m", "seed=0,1", "baseline.restarts=1,0", *SMALL)
"""Two jobs that can be done, and two that fail."""
FAILS = "baseline.restarts=0 is not valid"


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """The folder of a grid sweep, and what its command said."""
    folder = tmp_path_factory.mktemp("grid")
    return folder, Command(folder)(*GRID, code=1)


@pytest.fixture
def after_grid(grid, command):
    """The command in a copy of that folder."""
    shutil.copytree(grid[0] / "outputs", command.folder / "outputs", copy_function=shutil.copy2)
    return command


@pytest.fixture
def with_stages(grid, command):
    """The command in a folder that has the stages, and nothing else."""
    shutil.copytree(grid[0] / "outputs" / "stages", command.folder / "outputs" / "stages")
    return command


def sweep_folder(folder):
    (found,) = (folder / "outputs" / "sweeps").iterdir()
    return found


def rows(folder):
    return list(csv.DictReader((sweep_folder(folder) / "sweep.csv").read_text(encoding="utf-8").splitlines()))


def until(process, text):
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"it ended without saying {text}")


def test_a_failing_job_stops_no_other_and_is_listed_at_the_end(grid):
    folder, output = grid
    assert "4 jobs: 2 run, 0 done before, 2 failed" in output
    last = output.splitlines()[-2:]
    assert [line.split(": ")[0].strip() for line in last] == [
        "seed=0 baseline.restarts=0", "seed=1 baseline.restarts=0",
    ]  # fmt: skip
    assert all(FAILS in line for line in last)
    for seed in (0, 1):
        assert (folder / f"outputs/digits/kmeans/{seed}/baseline.restarts=1/metrics.json").exists()


def test_the_table_has_mean_and_deviation_of_what_can_be_done(grid):
    folder, _ = grid
    done, failed = rows(folder)
    found = [record.metrics["acc"] for record in records(sweep_folder(folder)) if record.metrics]
    assert (done["baseline.restarts"], done["seeds"], done["failed"]) == ("1", "2", "0")
    assert float(done["acc_mean"]) == pytest.approx(sum(found) / 2, abs=1e-6)
    assert float(done["acc_deviation"]) == pytest.approx(abs(found[0] - found[1]) / 2**0.5, abs=1e-6)
    assert (failed["seeds"], failed["failed"], failed["acc_mean"]) == ("0", "2", "")


def test_the_page_leads_to_every_report(grid):
    place = sweep_folder(grid[0])
    links = re.findall(r'href="([^"]+)"', (place / "sweep.html").read_text(encoding="utf-8"))
    assert len(links) == 2
    assert all((place / link.replace("%3D", "=")).is_file() for link in links)


def test_a_stage_that_jobs_share_is_made_once(grid):
    folder, output = grid
    made = [path for path in (folder / "outputs" / "stages").glob("features-*") if path.is_dir()]
    assert len(made) == 2  # one for each seed
    assert output.count("features: simclr: starting") == 2


def test_the_same_command_again_runs_only_what_is_missing(after_grid):
    outputs = list((after_grid.folder / "outputs" / "digits").rglob("*.*"))
    before = {path: path.stat().st_mtime_ns for path in outputs}
    output = after_grid(*GRID, code=1)
    assert "4 jobs: 0 run, 2 done before, 2 failed" in output
    assert {path: path.stat().st_mtime_ns for path in outputs} == before
    assert rows(after_grid.folder)[0]["seeds"] == "2"


def test_another_setting_or_a_changed_output_is_run_again(after_grid):
    wanted = [word for word in GRID if not word.startswith(("seed", "baseline"))]
    report = after_grid.folder / "outputs/digits/kmeans/0/baseline.restarts=1/report.html"
    report.write_text("another", encoding="utf-8")
    output = after_grid(*wanted, "seed=0", "baseline.restarts=1,2")
    assert "2 jobs: 2 run, 0 done before, 0 failed" in output
    assert "baseline: baseline: starting" in output
    assert report.read_text(encoding="utf-8") != "another"


def test_a_killed_sweep_takes_its_job_with_it_and_then_goes_on(with_stages):
    words = ("-m", "seed=0,1", "baseline.restarts=1", *SMALL)
    process = with_stages.start(*words)
    until(process, "[job 2 of 2]")
    process.kill()
    process.communicate(timeout=60)  # until the job has closed its output, too: it has ended
    results = with_stages.folder / "outputs/digits/kmeans"
    assert (results / "0/metrics.json").exists()
    assert not (results / "1/metrics.json").exists()
    assert "2 jobs: 1 run, 1 done before, 0 failed" in with_stages(*words)
    assert rows(with_stages.folder)[0]["seeds"] == "2"


def test_an_interrupted_sweep_says_how_to_go_on(with_stages):
    process = with_stages.start("-m", "seed=0,1", "baseline.restarts=1", *SMALL)
    until(process, "[job 1 of 2]")
    process.send_signal(signal.SIGINT)  # to the sweep alone, as by kill
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output.splitlines()[-1].startswith("clusterlab: stopped; the same command goes on where it stopped: ")
    assert not list((with_stages.folder / "outputs").glob("digits/*/*/metrics.json"))


@pytest.mark.parametrize("launcher", [("joblib", "hydra.launcher.n_jobs=2"), ("submitit_local",)])
def test_a_launcher_runs_the_same_jobs_in_the_same_folders(grid, with_stages, launcher):
    name, *settings = launcher
    wanted = [word for word in GRID if not word.startswith("seed")]
    output = with_stages(*wanted, "seed=0", f"hydra/launcher={name}", *settings, code=1)
    assert "2 jobs: 1 run, 0 done before, 1 failed" in output
    assert FAILS in output.splitlines()[-1]
    there = "outputs/digits/kmeans/0/baseline.restarts=1/assignments.csv"
    assert (with_stages.folder / there).read_bytes() == (grid[0] / there).read_bytes()


def test_a_search_maximises_what_looks_at_no_label(with_stages):
    words = ("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "features.temperature=interval(-0.7,0.5)")
    output = with_stages(*words, *SMALL, code=1)
    assert "3 jobs: 2 run, 0 done before, 1 failed" in output  # the negative one
    place = sweep_folder(with_stages.folder)
    best = yaml.safe_load((place / "optimization_results.yaml").read_text(encoding="utf-8"))
    found = {record.title: objective(record.metrics) for record in records(place) if record.metrics}
    assert len(found) == 2
    assert best["best_value"] == max(found.values())
    assert found[f"features.temperature={best['best_params']['features.temperature']}"] == best["best_value"]
    assert "3 jobs: 0 run, 2 done before, 1 failed" in with_stages(*words, *SMALL, code=1)
