"""Numbers: what is no number any more, and what a seed decides.

One test for each kind of stage that trains: each has its own step.
"""

import os
import re

import pytest
import torch
from composed import changed, composed, line_of

from clusterlab.artifacts import Encoder
from clusterlab.features.simclr import SimCLR
from clusterlab.finite import NotFiniteError, Watch, not_finite
from clusterlab.run import run
from clusterlab.stage_failures import likely_cause

KINDS = {
    "features of SimCLR": ("scan", ("features",)),
    "head of SCAN": ("scan", ("head",)),
    "self-labelling": ("scan", ("student",)),
    "features of MoCo": ("spice", ("features",)),
    "head of SPICE": ("spice", ("head",)),
    "instances of ASD": ("asd", ("head",)),
    "a semi-supervised student": ("spice", ("student",)),
    "MixMatch": ("spice", ("student", "student=mixmatch", "student.unlabelled_ratio=1")),
}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_diverges_ends_with_stage_step_and_what_to_change(kind):
    """A learning rate of 1e29: one line with the stage, the step and the setting"""
    method, (section, *words) = KINDS[kind]
    line = line_of(changed(composed(method, *words), (section, "optimiser", "lr"), 1e29))
    assert re.match(
        rf"{section}=\w+: .* became NaN or infinite in (step|epoch) \d+, so the training has diverged", line
    )
    assert f"use a lower {section}.optimiser.lr (it is 1e+29)" in line


def test_the_last_checkpoint_before_it_is_kept(monkeypatch, tmp_path):
    """NaN from the second epoch on: the checkpoint of the first one stays, and the same command goes on from it"""
    whole = SimCLR.training_step
    values = composed("scan")
    monkeypatch.setattr(
        SimCLR, "training_step", lambda self, *some: whole(self, *some) * (torch.nan if self.current_epoch else 1)
    )
    line = line_of(values)
    assert "features=simclr: " in line
    assert "in epoch 2" in line
    (checkpoint,) = (tmp_path / "outputs/stages").glob("features-*.work/last.ckpt")
    assert f"the last good checkpoint is kept: outputs/stages/{checkpoint.parent.name}/last.ckpt" in line
    assert os.path.exists(line.rpartition(" ")[2])
    state = torch.load(checkpoint, weights_only=True)
    assert state["epoch"] == 0
    assert not_finite(state["state_dict"].items()) is None
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert not line_of(values)


def test_what_trains_on_and_overflows_later_is_blamed_on_what_was_trained(monkeypatch):
    """Weights that are finite and far too large: the stage that first reads them names the learning rate"""
    whole = SimCLR.export

    def export(self):
        encoder = whole(self)
        large = {name: 1e38 * value if value.is_floating_point() else value for name, value in encoder.backbone.items()}
        return Encoder(backbone=large, projection=encoder.projection)

    monkeypatch.setattr(SimCLR, "export", export)
    line = line_of(composed("scan", "features.max_epochs=1"))
    assert "came out NaN or infinite" in line
    assert "use a lower features.optimiser.lr" in line


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"temperature": 1e-30, "optimiser": {"lr": 0.1}}, "use a higher head.temperature (it is 1e-30)"),
        ({"entropy_weight": 1e30, "optimiser": {"lr": 0.1}}, "use a lower head.entropy_weight (it is 1e+30)"),
        ({"temperature": 0.1, "optimiser": {"lr": 0.1}}, "use a lower head.optimiser.lr (it is 0.1)"),
        ({"layer": "backbone"}, "see what goes into it"),
    ],
)
def test_the_most_suspicious_setting_is_named(settings, advice):
    """A temperature of nearly 0, a weight of 1e30: the line names that setting and not the learning rate"""
    assert likely_cause("head", settings, "32-true") == advice
    assert likely_cause("head", settings, "bf16-mixed").startswith(advice)


def test_a_temperature_of_nearly_0_is_named():
    """features.temperature=1e-30: the run ends with a line that names it"""
    line = line_of(changed(composed("scan"), ("features", "temperature"), 1e-30))
    assert "use a higher features.temperature (it is 1e-30)" in line


def test_the_first_of_several_bad_steps_is_told():
    """Of many bad steps the first is told, whichever loss it was"""
    watch = Watch()
    for step in range(10):
        watch.see("loss", torch.tensor(torch.nan if step > 6 else 1.0), step)
        watch.see("lowest_loss", torch.tensor([1.0, torch.inf if step > 4 else 1.0]), step)
    with pytest.raises(NotFiniteError, match="the lowest loss became NaN or infinite in step 6"):
        watch.check()
    watch.check()


@pytest.mark.parametrize("method", ["scan", "spice", "asd"])
def test_the_same_seed_gives_the_same_table_again(method, tried, tmp_path, monkeypatch):
    """The same command in two folders of one machine: assignments.csv is the same byte for byte"""
    # Fewer images have too few transitions between ASD's classes.
    values = composed(method, "data.limit=300", "backbone.width=8")
    tables = []
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert not line_of(values)
        tables.append((tmp_path / name / "run" / "assignments.csv").read_bytes())
    assert tables[0] == tables[1]
    tried(2)


def test_collapse_is_told_in_plain_words():
    """All images in one cluster: the first warning says that the clusters have collapsed, and what to try"""
    stages = "method.stages=[features,embeddings,baseline,neighbours,head,map]"
    values = composed("scan", "head.entropy_weight=0", "head.optimiser.lr=1", "head.max_epochs=10", stages)
    warnings = run(values)["warnings"]
    assert "the clusters have collapsed. Try a head.entropy_weight above 0" in warnings[0]
