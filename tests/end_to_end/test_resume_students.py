"""Every student, killed and started again, ends as one never killed, with what it remembers from step to step."""

import shutil
from functools import partial

import pytest
import torch

from clusterlab.registry import own_names
from command_line import SMALL
from killed import Running, succeed

STATE = {
    "flexmatch": {"selected"},
    "freematch": {"tau", "p_model", "label_hist"},
    "softmatch": {"mu", "var", "p_model"},
}
"""Buffers beside the network, its average and the labels."""
KINDS = {"selflabel": ("student.batch_size=100", "student.threshold=0.1"), "mixmatch": ("student.unlabelled_ratio=1",)}


def words(student):
    kept = [word for word in SMALL["asd"] if student != "selflabel" or not word.startswith("student.")]
    return (*kept, f"student={student}", "student.max_epochs=4", "student.ema_decay=0.5", *KINDS.get(student, ()))


@pytest.fixture(scope="module")
def until_the_student(tmp_path_factory):
    """A folder in which all stages before the student are done."""
    folder = tmp_path_factory.mktemp("before")
    succeed(folder, *SMALL["asd"], "method.stages=[head,baseline,transitions,triggers,map]")
    return folder


@pytest.mark.parametrize("student", own_names("student"))
def test_a_student_killed_after_its_first_checkpoint_ends_as_an_unbroken_one(until_the_student, tmp_path, student):
    outcomes = []
    for name in ("unbroken", "killed"):
        shutil.copytree(until_the_student / "outputs" / "stages", tmp_path / name / "outputs" / "stages")
        folder = tmp_path / name
        if name == "killed":
            checkpoint = kill_after_a_checkpoint(folder, student)
            assert STATE.get(student, set()) <= checkpoint["state_dict"].keys()
        assert "student: " in succeed(folder, *words(student), "trainer.checkpoint_seconds=0")
        outcomes.append((folder / "outputs" / "digits" / "asd" / "0" / "assignments.csv").read_bytes())
    assert outcomes[0] == outcomes[1]


def kill_after_a_checkpoint(folder, student):
    checkpoints = partial((folder / "outputs" / "stages").glob, "student-*.work/last.ckpt")
    Running(folder, *words(student), "trainer.checkpoint_seconds=0").kill_once(lambda: list(checkpoints()))
    (checkpoint,) = checkpoints()
    return torch.load(checkpoint, weights_only=True)
