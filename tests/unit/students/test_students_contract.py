"""What every student in the folder has to do; a new one is found by its file."""

import shutil
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from small_students import FEW, few_steps, make_student, shipped

from clusterlab.artifacts import PseudoLabels
from clusterlab.registry import own_names
from clusterlab.semisupervised import PseudoLabelledStage
from clusterlab.student import StudentStage

STUDENTS = own_names("student")
SHIFT = torch.tensor([3, 4, 5, 6, 7, 8, 9, 0, 1, 2])
CONFIDENT = 20.0
GIVEN = PseudoLabels(FEW, num_clusters=10)


def student(name, work, folder=None, listener=None):
    """A stage that starts from a network which is sure enough to pass thresholds."""
    if folder is not None:
        folder.mkdir(exist_ok=True)
        work = replace(work, folder=folder, listener=listener or work.listener)
    return make_student(name, work, scale=CONFIDENT)


def state_of(stage: StudentStage) -> Mapping[str, torch.Tensor]:
    """What the stage remembers beside the weights: its own tensors in the checkpoint."""
    own = {name for name, _ in stage.named_buffers(recurse=False)}
    return {name: value for name, value in stage.state_dict().items() if name in own}


@pytest.mark.parametrize("name", STUDENTS)
def test_it_trains_and_gives_every_image_its_clusters(work, name):
    stage = student(name, work)
    before = {key: value.clone() for key, value in state_of(stage).items()}
    start = stage.network.heads.weight.clone()
    result = stage.run()
    assert result.probs.shape == (60, 10)
    assert torch.allclose(result.probs.sum(dim=1), torch.ones(60))
    assert not torch.equal(stage.network.heads.weight, start)
    metrics = {line.split(",")[3] for line in (work.folder / "history.csv").read_text().splitlines()[1:]}
    assert {"loss", "lr"} <= metrics
    changed = {key for key, value in state_of(stage).items() if not torch.equal(value, before[key])}
    assert changed == before.keys() - {"labels"}  # what is remembered is made use of


@pytest.mark.parametrize("name", STUDENTS)
def test_a_stage_loaded_from_a_checkpoint_goes_on_as_if_it_had_never_stopped(work, tmp_path, name):
    (tmp_path / "second").mkdir()

    def keep_the_first_checkpoint(epoch, *_):
        if epoch == 1:  # the last one written is of the epoch before
            shutil.copy(tmp_path / "first" / "last.ckpt", tmp_path / "second")

    work = replace(work, trainer=work.trainer.model_copy(update={"checkpoint_seconds": 0}))
    unbroken = student(name, work, tmp_path / "first", keep_the_first_checkpoint)
    whole = unbroken.run()
    resumed = student(name, work, tmp_path / "second")
    assert set(resumed._per_class) | set(resumed._per_sample) <= state_of(resumed).keys()
    assert torch.equal(resumed.run().probs, whole.probs)
    assert resumed.state_dict().keys() == unbroken.state_dict().keys()
    for key, value in unbroken.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key


@pytest.mark.parametrize("name", STUDENTS)
def test_training_on_with_clusters_renamed_gives_the_renamed_result(work, tmp_path, name):
    straight = student(name, work, tmp_path / "straight")
    want = straight.run()
    made = []
    renamed = student(name, work, tmp_path / "renamed", lambda epoch, *_: epoch == 0 and made[0].remap(SHIFT))
    made.append(renamed)
    found = renamed.run()
    assert torch.allclose(found.probs[:, SHIFT], want.probs, atol=1e-3)
    for key in straight._per_class:
        assert torch.allclose(renamed.get_buffer(key)[SHIFT], straight.get_buffer(key), atol=1e-4), key
    for key in straight._per_sample:
        clusters = straight.get_buffer(key)
        assert torch.equal(renamed.get_buffer(key), torch.where(clusters >= 0, SHIFT[clusters], -1)), key


@pytest.mark.parametrize("name", [name for name in STUDENTS if issubclass(shipped(name).part, PseudoLabelledStage)])
def test_it_can_do_without_the_network_that_made_the_clusters(work, name):
    part = shipped(name).part
    settings = few_steps(name, init="random")
    stage = part(settings=settings, work=work, pseudo_labels=GIVEN, assignments=None)
    assert stage.num_clusters == 10
