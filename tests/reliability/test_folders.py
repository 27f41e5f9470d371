"""Folders that refuse: read-only, no folders at all, links out of them, another run at work there."""

import os
import shutil
from pathlib import Path

import pytest
from here import DAMAGES, RUN, STAGES, Here, artifacts, artifacts_of, files_below

from clusterlab.errors import TOLD
from clusterlab.locks import held_alone
from clusterlab.run_folder import LOCK
from command_line import SMALL, Command

NUM_STAGES = 7


@pytest.mark.parametrize("setting", ["run_dir", "stage_dir"])
@pytest.mark.parametrize("below", ["", "new/folder"])
def test_a_folder_that_cannot_be_written_is_named_in_one_line(read_only, tmp_path, setting, below):
    """A read-only folder for the outputs or the stages, there or to be made"""
    line = Here(tmp_path).refusal(*SMALL["scan"], f"{setting}='{read_only / below}'")
    assert line.startswith(f"{TOLD}cannot write to {setting}={read_only / below}: ")
    assert f"choose another {setting}=DIR" in line


def test_a_read_only_working_folder_is_one_line(read_only):
    """A read-only working folder"""
    assert "choose another run_dir=DIR" in Here(read_only).refusal(*SMALL["scan"])


def test_tables_and_models_for_a_read_only_folder_are_one_line(digits_run, read_only, tmp_path):
    """A read-only folder for the table of predict and for an exported model"""
    run_dir = str(digits_run.folder / RUN)
    photos = str(digits_run.folder / RUN / "clusters.png")
    line = Here(tmp_path).refusal("predict", run_dir, photos, "--output", str(read_only / "new.csv"))
    assert "choose another --output FILE" in line
    assert str(read_only) in line
    assert "choose another --output DIR" in Here(tmp_path).refusal(
        "export", run_dir, "--output", str(read_only / "new")
    )


@pytest.mark.parametrize("place", ["a file", "below a file", "too long", "a link that leads nowhere"])
@pytest.mark.parametrize("setting", ["run_dir", "stage_dir"])
def test_what_can_be_no_folder_is_named_in_one_line(tmp_path, setting, place):
    """A file, a link that leads nowhere or a name too long in the place of a folder"""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "at all")
    name = {"a file": "file", "below a file": "file/run", "too long": "x" * 300}.get(place, "link")
    line = Here(tmp_path).refusal(*SMALL["scan"], f"{setting}={name}")
    assert line.startswith(f"{TOLD}cannot write to {setting}={name}")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_is_a_link_is_where_it_leads(digits_run, tmp_path):
    """A link to another folder in the place of run_dir and stage_dir"""
    for name in ("run", "stages"):
        (tmp_path / "far" / name).mkdir(parents=True)
        (tmp_path / name).symlink_to(Path("far", name))
    here = Here(tmp_path)
    here.run("run_dir=run", "stage_dir=stages")
    assert here.outcome(Path("far", "run")) == digits_run.outcome()
    assert artifacts(tmp_path / "far" / "stages")


def test_links_out_of_the_folder_are_replaced_and_not_followed(digits_run, tmp_path, tried):
    """A link out of run_dir in the place of every output, and of what is written first under another name"""
    shutil.copytree(digits_run.folder / STAGES, tmp_path / STAGES)
    here, run_dir = Here(tmp_path), tmp_path / "run"
    treasure = tmp_path / "treasure"
    (treasure / "folder").mkdir(parents=True)
    (treasure / "file").write_text("mine")
    (treasure / "folder" / "file").write_text("mine")
    names = sorted({name.parts[0] for name in files_below(digits_run.folder / RUN)})
    run_dir.mkdir()
    for name in names:
        target = treasure / ("folder" if name == "model" else "file")
        (run_dir / name).symlink_to(target)
        (run_dir / f".{name}.tmp").symlink_to(target)
    here.run("run_dir=run")
    assert here.outcome(Path("run")) == digits_run.outcome()
    assert all(path.read_text() == "mine" for path in treasure.rglob("file"))
    assert [path.name for path in run_dir.iterdir() if path.is_symlink()] == [".clusterlab.log.tmp"]
    (run_dir / LOCK).symlink_to(treasure / "file")
    assert "cannot write to run_dir=run" in here.refusal(*SMALL["scan"], "run_dir=run")
    assert (treasure / "file").read_text() == "mine"
    tried(2 * len(names) + 1)


def test_links_in_the_place_of_stages_are_read_and_if_damaged_replaced(digits_run, tmp_path, tried):
    """A link to an artifact elsewhere, whole or damaged"""
    shutil.copytree(digits_run.folder / STAGES, tmp_path / "far")
    (tmp_path / STAGES).mkdir(parents=True)
    for folder in (tmp_path / "far").iterdir():
        (tmp_path / STAGES / folder.name).symlink_to(folder)
    here = Here(tmp_path)
    (damaged,) = (path.name for path in artifacts_of(digits_run) if path.name.startswith("head-"))
    DAMAGES["middle byte"](tmp_path / "far" / damaged / "tensors.safetensors")
    for path in (tmp_path / STAGES).glob("*.lock"):
        path.unlink()
    before = {name: (tmp_path / "far" / name).read_bytes() for name in files_below(tmp_path / "far")}
    output = here.run()
    assert output.count(": loaded ") == NUM_STAGES - 1
    assert "is not what was written; it is made again" in output
    assert here.outcome() == digits_run.outcome()
    assert {name: (tmp_path / "far" / name).read_bytes() for name in files_below(tmp_path / "far")} == before
    tried(NUM_STAGES)


def test_a_second_run_in_the_same_folder_is_told_who_is_there(digits_run, tmp_path):
    """A second run in the folder of one that is at work"""
    shutil.copytree(digits_run.folder / "outputs", tmp_path / "outputs")
    here = Here(tmp_path)
    before = (tmp_path / RUN / "clusterlab.log").read_bytes()
    with held_alone(tmp_path / RUN / LOCK):
        line = here.refusal(*SMALL["scan"])
    assert f"run_dir={RUN} is in use: process {os.getpid()} on " in line
    assert "choose another run_dir=DIR" in line
    assert (tmp_path / RUN / "clusterlab.log").read_bytes() == before
    here.run()
    assert here.outcome() == digits_run.outcome()


@pytest.mark.slow
def test_of_two_commands_in_one_folder_one_runs_and_one_says_why_not(digits_run, tmp_path):
    """The same command twice at the same time"""
    command = Command(tmp_path)
    processes = [command.start(*SMALL["scan"], "features.max_epochs=30") for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 2], outputs
    (refused,) = (text for text, process in zip(outputs, processes, strict=True) if process.returncode)
    assert len(refused.splitlines()) == 1
    assert "is in use: process" in refused
    assert (tmp_path / RUN / "metrics.json").exists()
