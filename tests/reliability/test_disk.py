"""A full disk: one line says where and what to do, and nothing but room is lost."""

import logging
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from here import IMAGES, RUN, STAGES, Here, artifacts, artifacts_of, files_below

from clusterlab.artifacts import load
from clusterlab.errors import TOLD
from clusterlab.run_folder import logging_to
from command_line import SMALL

MEGABYTE = 2**20
PAGE = 4096
CHECKPOINTS = "trainer.checkpoint_seconds=0"


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if ".tmp" in path.name]


def size_of(folder: Path) -> int:
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in folder.iterdir())


def test_a_disk_that_is_full_again_and_again_costs_nothing_but_room(digits_run, small_disk, tmp_path, tried):
    """A disk that becomes full while the artifact of each stage is written; every time there is room for one more"""
    here = Here(tmp_path)
    shutil.copytree(digits_run.folder / STAGES / IMAGES, small_disk.place / IMAGES)
    made = artifacts_of(digits_run)
    before = 0
    for number, folder in enumerate(made):
        # Beside the artifacts: a page for the lock, and one for the history, until it lies in the artifact.
        pages = 1 + (folder / "history.csv").exists() - (number > 0 and (made[number - 1] / "history.csv").exists())
        small_disk.leave(before + pages * PAGE + size_of(folder) // 2)
        line = here.refusal(*SMALL["scan"], f"stage_dir={small_disk.place}")
        assert line.startswith(f"{TOLD}the disk is full: no room in stage_dir={small_disk.place}; make room"), folder
        assert not leftovers(small_disk.place)
        assert {path.name for path in artifacts(small_disk.place)} == {path.name for path in made[:number]}
        for path in artifacts(small_disk.place):
            load(path)
        before = size_of(folder)
    small_disk.ballast.unlink()
    assert here.run(f"stage_dir={small_disk.place}").count(": loaded ") == len(made) - 1
    assert here.outcome() == digits_run.outcome()
    tried(len(made))


def test_a_disk_that_is_full_from_the_start_is_told(digits_run, small_disk, tmp_path):
    """A disk on which not even a lock can be written"""
    shutil.copytree(digits_run.folder / STAGES / IMAGES, small_disk.place / IMAGES)
    small_disk.leave(0)
    line = Here(tmp_path).refusal(*SMALL["scan"], f"stage_dir={small_disk.place}")
    assert line.startswith(f"{TOLD}the disk is full: no room in stage_dir={small_disk.place}; make room")


@pytest.mark.parametrize("room", [100_000, 250_000])
def test_a_full_disk_while_a_checkpoint_is_written_leaves_the_one_before(digits_run, small_disk, tmp_path, room):
    """A disk with no room for a checkpoint, or for one but not two; then there is room"""
    shutil.copytree(digits_run.folder / STAGES / IMAGES, small_disk.place / IMAGES)
    small_disk.leave(room)
    here = Here(tmp_path)
    line = here.refusal(*SMALL["scan"], CHECKPOINTS, f"stage_dir={small_disk.place}")
    assert line.startswith(f"{TOLD}the disk is full: no room in stage_dir={small_disk.place}; make room")
    assert not leftovers(small_disk.place)
    assert len(list(small_disk.place.glob("features-*.work/last.ckpt"))) == (room > 200_000)
    small_disk.ballast.unlink()
    output = here.run(f"stage_dir={small_disk.place}")
    assert "not what was written" not in output
    assert here.outcome() == digits_run.outcome()


@pytest.mark.parametrize("room", [0, 50_000])
def test_a_full_disk_while_images_are_decoded_is_told_before_or_at_once(small_disk, digits_run, tmp_path, room):
    """A disk with no room for the decoded images; then there is room"""
    small_disk.leave(room)
    here = Here(tmp_path)
    line = here.refusal(*SMALL["scan"], f"stage_dir={small_disk.place}")
    assert "the disk is full" in line
    assert str(small_disk.place) in line
    assert "make room" in line
    small_disk.ballast.unlink()
    here.run(f"stage_dir={small_disk.place}")
    assert here.outcome() == digits_run.outcome()


def test_a_full_disk_while_outputs_are_written_leaves_each_whole_or_not_at_all(digits_run, small_disk, tmp_path, tried):
    """A disk that is full at any output of a run; then there is room"""
    shutil.copytree(digits_run.folder / "outputs", tmp_path / "outputs")
    here, run_dir = Here(tmp_path), small_disk.place / "run"
    whole = {name: (digits_run.folder / RUN / name).read_bytes() for name in files_below(digits_run.folder / RUN)}
    rooms = [3 * PAGE, 10 * PAGE, 40 * PAGE]
    refused = 0
    for room in rooms:
        shutil.rmtree(run_dir, ignore_errors=True)
        small_disk.leave(room)
        line = here.refusal(*SMALL["scan"], f"run_dir={run_dir}")
        assert line.startswith(f"{TOLD}the disk is full: no room in run_dir={run_dir}; make room"), room
        assert not leftovers(run_dir)
        assert not (run_dir / "metrics.json").exists()
        for name in files_below(run_dir):
            if name.suffix not in (".log", ".html", ".yaml"):  # they tell the time, or the folder
                assert (run_dir / name).read_bytes() == whole[name], (room, name)
        refused += 1
    small_disk.ballast.unlink()
    here.run(f"run_dir={run_dir}")
    assert set(files_below(run_dir)) == set(whole)
    assert (run_dir / "assignments.csv").read_bytes() == digits_run.outcome()
    tried(refused)


def test_a_full_disk_under_the_log_does_not_end_the_run(small_disk, capsys):
    """A full disk under the log alone"""
    small_disk.leave(0)
    with logging_to(small_disk.place):
        for number in range(1000):
            logging.getLogger("clusterlab.anything").info("line %d", number)
    said = capsys.readouterr().err
    assert said.count("clusterlab.log cannot be written (No space left on device); the run goes on") == 1
    assert said.count("line ") == 1000
    assert "Logging error" not in said


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_limit_on_the_size_of_files_is_told_and_nothing_half_is_kept(digits_run, tmp_path, tried):
    """A limit on the size of files, below that of images, checkpoint, features or head; then there is none"""
    here = Here(tmp_path)
    limits = {10: (), 50_000: (), 90_000: (), 150_000: (CHECKPOINTS,), 110_000: ()}
    for size, words in limits.items():
        with largest_file(size):
            line = here.refusal(*SMALL["scan"], *words)
        assert "_dir=outputs/" in line
        assert "would be larger than the system allows" in line
        assert not leftovers(tmp_path)
        for folder in artifacts(tmp_path / STAGES) if (tmp_path / STAGES).exists() else ():
            load(folder)
    here.run()
    assert here.outcome() == digits_run.outcome()
    tried(len(limits))


def test_tables_and_models_for_a_full_disk_are_one_line_and_leave_nothing(digits_run, small_disk, tmp_path):
    """A full disk for the table of predict and for an exported model"""
    run_dir = str(digits_run.folder / RUN)
    small_disk.leave(2 * PAGE)
    photos = tmp_path / "list.txt"
    photos.write_text(f"{digits_run.folder / RUN / 'clusters.png'}\n" * 400)
    line = Here(tmp_path).refusal("predict", run_dir, str(photos), "--output", str(small_disk.place / "new.csv"))
    assert "No space left on device" in line
    assert "choose another --output FILE" in line
    line = Here(tmp_path).refusal("export", run_dir, "--output", str(small_disk.place / "new"))
    assert "o space left on device" in line
    assert "choose another --output DIR" in line
    assert files_below(small_disk.place) == [Path("ballast")]
