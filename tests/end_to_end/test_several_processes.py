"""Two processes on the CPU that train together: every method, every way to start them, and what happens to one lost."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from command_line import FEATURES, SHORT, SMALL, Command

KMEANS = (*(word for word in SHORT if not word.startswith("student.")), *FEATURES[:2], "method=kmeans")
TWO = "trainer.devices=2"


def outcome(folder, method):
    return folder / "outputs" / "digits" / method / "0"


def ranks_below(folder):
    """Process ids of the ranks that run in a folder, by rank."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.joinpath("cwd").resolve() != folder.resolve():
                continue
            variables = process.joinpath("environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for variable in variables:
            if variable.startswith(b"RANK="):
                found[int(variable.removeprefix(b"RANK="))] = int(process.name)
    return found


def wait_for_a_checkpoint(folder, process):
    deadline = time.monotonic() + 120
    while not list((folder / "outputs" / "stages").glob("*.work/last.ckpt")):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("method", ["spice", "asd"])
def test_a_method_runs_in_two_processes(tmp_path, method):
    output = Command(tmp_path)(*SMALL[method], TWO)
    metrics = json.loads((outcome(tmp_path, method) / "metrics.json").read_text())
    assert metrics["method"] == method
    assert {"acc", "nmi", "ari"} <= metrics.keys()
    assert output.count("look at") == 1, "each process wrote the outputs"
    rows = pd.read_csv(outcome(tmp_path, method) / "history.csv")
    assert not rows.duplicated(["stage", "epoch", "step", "metric"]).any()
    assert not (outcome(tmp_path, method) / "processes").exists()


def test_two_processes_lose_what_one_loses_and_leave_the_same_keys(tmp_path):
    runs = {}
    for name, words in {"one": (), "two": (TWO,)}.items():
        folder = tmp_path / name
        folder.mkdir()
        Command(folder)(*SMALL["scan"], *words, "trainer.precision=32-true")
        rows = pd.read_csv(outcome(folder, "scan") / "history.csv").set_index(["stage", "epoch", "metric"])["value"]
        runs[name] = rows, {path.name for path in (folder / "outputs" / "stages").glob("*-*-*")}
    # Not the student: which of the barely trained clusters it is sure of hangs on the last digit.
    for stage in ("features", "head"):
        alone, together = (run[0][stage].xs("loss", level="metric") for run in runs.values())
        assert len(alone) == 3
        assert (alone - together).abs().max() < 1e-3
    assert runs["one"][1] == runs["two"][1], "the number of processes is in a key"


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    Command(folder)(*KMEANS, TWO)
    return (outcome(folder, "kmeans") / "assignments.csv").read_bytes()


@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_that_is_killed_ends_the_run_and_the_same_command_goes_on(tmp_path, two_processes, lost):
    command = Command(tmp_path)
    process = command.start(*KMEANS, TWO, "trainer.checkpoint_seconds=0")
    wait_for_a_checkpoint(tmp_path, process)
    os.kill(ranks_below(tmp_path)[lost], signal.SIGKILL)
    killed = time.monotonic()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert time.monotonic() - killed < 30
    last = output.splitlines()[-1]
    assert last.startswith(f"clusterlab: process {lost + 1} of 2 ended with signal SIGKILL"), output
    assert last.endswith("the same command goes on where it stopped")
    assert ranks_below(tmp_path) == {}
    again = command(*KMEANS, TWO, "trainer.checkpoint_seconds=0")
    assert "features: simclr: going on with it" in again
    assert (outcome(tmp_path, "kmeans") / "assignments.csv").read_bytes() == two_processes


def test_ctrl_c_is_saved_by_all_processes_and_the_same_command_goes_on(tmp_path, two_processes):
    command = Command(tmp_path)
    process = command.start(*KMEANS, TWO, "trainer.checkpoint_seconds=0")
    wait_for_a_checkpoint(tmp_path, process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert output.splitlines()[-1].startswith("clusterlab: stopped; the same command goes on where it stopped: "), (
        output
    )
    assert output.count("the same command") == 1
    assert "Traceback" not in output
    assert ranks_below(tmp_path) == {}
    again = command(*KMEANS, TWO)
    assert "features: simclr: going on with it" in again or "features: simclr: loaded" in again
    assert (outcome(tmp_path, "kmeans") / "assignments.csv").read_bytes() == two_processes


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends processes with the one that started them")
def test_no_process_outlives_the_command(tmp_path):
    process = Command(tmp_path).start(*KMEANS, TWO, "trainer.checkpoint_seconds=0")
    wait_for_a_checkpoint(tmp_path, process)
    assert len(ranks_below(tmp_path)) == 2
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while ranks_below(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_mistake_is_told_once(tmp_path):
    output = Command(tmp_path)(*KMEANS, TWO, "num_clusters=1000", code=2)
    told = [line for line in output.splitlines() if line.startswith("clusterlab: ")]
    assert len(told) == 1
    assert "num_clusters=1000, but" in told[0]
    assert "Traceback" not in output


def test_torchrun_may_start_them(tmp_path, two_processes):
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=localhost"]
    words += ["--nproc-per-node=2", "-m", "clusterlab", *KMEANS]
    done = subprocess.run(
        words, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (outcome(tmp_path, "kmeans") / "assignments.csv").read_bytes() == two_processes


def test_slurm_may_start_them(tmp_path, two_processes):
    tasks = {"SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "clusters"}
    tasks |= {"SLURM_NODELIST": "localhost", "SLURM_NODEID": "0", "SLURM_NTASKS_PER_NODE": "2"}
    started = [
        Command(tmp_path, **tasks, SLURM_PROCID=str(task), SLURM_LOCALID=str(task)).start(*KMEANS) for task in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    assert (outcome(tmp_path, "kmeans") / "assignments.csv").read_bytes() == two_processes
