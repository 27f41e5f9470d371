"""A run that was killed in any stage ends as an unbroken one."""

import shutil
import time

import pytest
from command_line import SMALL, Command

STAGES = ("features", "embeddings", "neighbours", "baseline", "head", "student", "map")
TRAINED = ("features", "head", "student")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    Command(folder)(*SMALL)
    return folder


def outcome(folder):
    return (folder / "outputs" / "digits" / "scan" / "0" / "assignments.csv").read_bytes()


def kill_in(command, stage):
    """Kill the run in `stage`: in a trained one after its first checkpoint, in another as soon as it has begun."""
    process = command.start(*SMALL, "trainer.checkpoint_seconds=0")
    sign = "*.work/last.ckpt" if stage in TRAINED else "*.work"
    deadline = time.monotonic() + 120
    while not list((command.folder / "outputs" / "stages").glob(f"{stage}-{sign}")):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    process.communicate()


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_in_a_stage_ends_as_an_unbroken_one(unbroken, command, stage):
    stages = command.folder / "outputs" / "stages"
    for done in (unbroken / "outputs" / "stages").iterdir():
        earlier = STAGES[: STAGES.index(stage)]
        if done.is_dir() and done.name.split("-")[0] in (*earlier, "images"):
            shutil.copytree(done, stages / done.name)
    kill_in(command, stage)
    assert not (command.folder / "outputs" / "digits" / "scan" / "0" / "assignments.csv").exists()
    output = command(*SMALL, "trainer.checkpoint_seconds=0")
    assert f"{stage}: " in output
    assert outcome(command.folder) == outcome(unbroken)
    assert not list(stages.glob("*.work"))


def test_a_second_run_loads_every_stage(unbroken, command):
    shutil.copytree(unbroken / "outputs", command.folder / "outputs")
    output = command(*SMALL)
    assert output.count(": loaded ") == len(STAGES)
    assert "starting" not in output
    assert outcome(command.folder) == outcome(unbroken)


def test_a_changed_setting_makes_what_depends_on_it_again_and_nothing_else(unbroken, command):
    shutil.copytree(unbroken / "outputs", command.folder / "outputs")
    output = command(*SMALL, "head.entropy_weight=4")
    assert output.count(": loaded ") == STAGES.index("head")
    assert "head: scan: starting" in output


def test_a_damaged_artifact_is_made_again(unbroken, command):
    shutil.copytree(unbroken / "outputs", command.folder / "outputs")
    (damaged,) = (command.folder / "outputs" / "stages").glob("neighbours-*/tensors.safetensors")
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    output = command(*SMALL)
    assert "is not what was written" in output
    assert "neighbours: neighbours: starting" in output
    assert outcome(command.folder) == outcome(unbroken)
