"""Load: many jobs at once on one stage folder, and folders larger than the memory should have to hold."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clusterlab.artifacts import Projection, load, save
from clusterlab.locks import held, held_alone, holder
from command_line import SMALL, Command

JOBS = 20
STAGES = 3
HOLD = """
import sys, time
from pathlib import Path
from clusterlab.locks import held
with held(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    time.sleep(600)
"""
GIB = 2**30


def test_of_many_jobs_one_makes_each_stage_and_the_others_load_it(tmp_path, caplog, tried):
    """20 jobs at once, of three stages each, in one folder"""
    made: list[Path] = []
    start = threading.Barrier(JOBS)

    def job(_: int) -> list[float]:
        start.wait()
        found = []
        for number in range(STAGES):
            folder = tmp_path / f"map-map-{number}"
            with held(tmp_path / f"{folder.name}.lock", folder.name):
                if not folder.exists():
                    made.append(folder)
                    time.sleep(0.05)
                    save(Projection(points=torch.full((2, 2), float(number))), folder, about={}, files={})
            artifact, _ = load(folder)
            assert isinstance(artifact, Projection)
            found.append(float(artifact.points[0, 0]))
        return found

    caplog.set_level("INFO")
    with ThreadPoolExecutor(JOBS) as jobs:
        found = list(jobs.map(job, range(JOBS)))
    assert found == [[0.0, 1.0, 2.0]] * JOBS
    assert sorted(made) == sorted(tmp_path / f"map-map-{number}" for number in range(STAGES))
    waiting = [record.getMessage() for record in caplog.records if "waiting for it" in record.getMessage()]
    assert len(waiting) >= JOBS - 1
    assert all(text.startswith((f"process {os.getpid()} on ", "another run ")) for text in waiting)
    tried(JOBS)


@pytest.fixture
def job_with_lock(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "a.lock"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_lock_of_a_killed_process_is_taken_over(job_with_lock, tmp_path, caplog):
    """A job waits for another, names it, and takes over when that is killed"""
    caplog.set_level("INFO")
    killer = threading.Timer(0.3, job_with_lock.send_signal, [signal.SIGKILL])
    killer.start()
    with held(tmp_path / "a.lock", "head-scan-0"):
        assert job_with_lock.wait(timeout=10) == -signal.SIGKILL
        assert holder(tmp_path / "a.lock").startswith(f"process {os.getpid()} on ")
    (record,) = caplog.records
    assert record.getMessage().startswith(f"process {job_with_lock.pid} on ")
    assert record.getMessage().endswith(" is making head-scan-0: waiting for it")


def test_what_stands_in_a_lock_is_shown_without_what_a_terminal_would_obey(tmp_path):
    """A lock with hostile, damaged or no words in it"""
    path = tmp_path / "a.lock"
    for content, shown in {
        b"": "another run",
        b"\x1b[2J\x07\n": "[2J",
        b"\xff\xfe\n": "\N{REPLACEMENT CHARACTER}" * 2,
        b"x" * 10**6: "x" * 200,
    }.items():
        path.write_bytes(content)
        assert holder(path) == shown
    assert holder(tmp_path / "none") == "another run"
    with held_alone(path):
        assert holder(path).startswith(f"process {os.getpid()} on ")


@pytest.mark.slow
def test_twenty_commands_share_their_stages(tmp_path, tried):
    """20 commands at once with one stage folder: each stage is made once, all end alike"""
    command = Command(tmp_path)
    processes = [command.start(*SMALL["scan"], f"run_dir=runs/{number}") for number in range(JOBS)]
    outputs = [process.communicate(timeout=1200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * JOBS, outputs
    stages = [path for path in (tmp_path / "outputs" / "stages").iterdir() if path.is_dir() and path.name != "images"]
    assert len(stages) == 7
    assert sum(output.count(": done in ") for output in outputs) == len(stages)
    assert sum(output.count(": loaded ") for output in outputs) == (JOBS - 1) * len(stages)
    assert not [path for path in stages if path.suffix]
    assert len({(tmp_path / "runs" / str(number) / "assignments.csv").read_bytes() for number in range(JOBS)}) == 1
    tried(JOBS)


def largest_memory(folder: Path, *words: str) -> int:
    """Run the command in `folder` and return the most memory that it held, in bytes, pages of files included."""
    process = Command(folder).start(*words)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    assert process.returncode == 0, output
    print(output)
    return usage.ru_maxrss * 1024


def run_words(size: int) -> tuple[str, ...]:
    return (
        "method=kmeans", "data=folder", "data.root=photos", f"data.image_size={size}", f"data.views.size={size}",
        "num_clusters=5", "backbone=small", "trainer=smoke", "wandb.mode=disabled", "run_dir=run",
    )  # fmt: skip


def linked_photos(root: Path, *, side: int, distinct: int, count: int) -> int:
    """Write `distinct` photographs with so many names; return how many bytes all files have together."""
    for number in range(count):
        path = root / f"{number // 10_000:02d}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < distinct:
            noise = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(noise).save(path, quality=90)
        else:
            os.link(root / "00" / f"{number % distinct:06d}.jpg", path)
    return sum(path.stat().st_size for path in root.rglob("*.jpg"))


@pytest.mark.slow
def test_two_hundred_thousand_files_take_little_memory(tmp_path):
    """A folder of 200,000 images"""
    count = 200_000
    linked_photos(tmp_path / "photos", side=16, distinct=50, count=count)
    before = largest_memory(few(tmp_path), *run_words(16))
    most = largest_memory(tmp_path, *run_words(16))
    print(f"{most / GIB:.2f} GiB, of which {before / GIB:.2f} GiB for {FEW} images")
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["used_clusters"] > 0
    # Names, pixels (768 bytes), and their floats, which k-means has twice (6 kB): 8 kB were seen.
    assert most - before < count * 10_000


@pytest.mark.slow
def test_ten_gigabytes_of_photographs_take_little_memory(tmp_path):
    """A folder of 10 GB of photographs"""
    size = linked_photos(tmp_path / "photos", side=4000, distinct=4, count=900)
    assert size > 10e9
    before = largest_memory(few(tmp_path), *run_words(32))
    most = largest_memory(tmp_path, *run_words(32))
    print(f"{size / 1e9:.1f} GB: {most / GIB:.2f} GiB, of which {before / GIB:.2f} GiB for {FEW} small images")
    # Some photographs of 48 MB at a time, each in several forms, and what the allocator keeps: 0.95 GiB were seen.
    assert most - before < 1.5 * GIB


FEW = 40


def few(folder: Path) -> Path:
    """Return a folder with so few images that the memory is that of the program alone."""
    linked_photos(folder / "few" / "photos", side=16, distinct=FEW, count=FEW)
    return folder / "few"
