import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clusterlab.artifacts import Encoder, Neighbours
from clusterlab.features.simclr import SimCLR, SimCLRSettings
from clusterlab.heads.scan import Scan, ScanSettings
from clusterlab.models.optim import OptimiserSettings
from clusterlab.students.selflabel import SelfLabel, SelfLabelSettings

OPTIMISER = OptimiserSettings(
    name="sgd", lr=0.01, weight_decay=0.0, momentum=0.9, schedule="cosine", final_lr_ratio=0.01
)
COMMON = {"max_epochs": 2, "batch_size": 16, "optimiser": OPTIMISER}


@pytest.fixture
def encoder(work):
    torch.manual_seed(1)
    return Encoder(backbone=work.network.build().state_dict(), projection={})


@pytest.fixture
def neighbours(work):
    def within(pool):
        return torch.stack([pool.roll(-1), pool.roll(-2)], dim=1)

    return Neighbours(train=within(work.images.train_index), eval=within(work.images.eval_index))


def scan(work, encoder, neighbours, **changes):
    values = {"num_heads": 3, "entropy_weight": 5.0, "update": "all", "view": "strong"} | COMMON
    settings = ScanSettings(name="scan", **(values | changes))
    return Scan(settings=settings, work=work, encoder=encoder, neighbours=neighbours)


def simclr(work):
    settings = SimCLRSettings(name="simclr", temperature=0.5, symmetric=False, projection_dim=8, **COMMON)
    return SimCLR(settings=settings, work=work)


def beside(work, **changes):
    """The same work in a folder of its own."""
    return replace(work, folder=Path(tempfile.mkdtemp(dir=work.folder)), **changes)


def changed(before, after):
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def test_simclr_trains_every_weight_and_writes_its_history(work):
    stage = simclr(work)
    before = {name: value.clone() for name, value in stage.state_dict().items()}
    encoder = stage.run()
    assert {name for name in changed(before, stage.state_dict()) if "weight" in name} == {
        name for name in before if "weight" in name
    }
    assert encoder.backbone.keys() == stage.backbone.state_dict().keys()
    rows = (work.folder / "history.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 3  # loss, accuracy and lr in two epochs


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(work):
    first = simclr(work).run().backbone
    again = simclr(beside(work)).run().backbone
    other = simclr(beside(work, seed=1)).run().backbone
    assert changed(first, again) == set()
    assert "stem.0.weight" in changed(first, other)


def test_scan_keeps_the_head_and_epoch_with_the_lowest_selection_loss(work, encoder, neighbours):
    stage = scan(work, encoder, neighbours)
    seen = []
    original = Scan.on_train_epoch_end

    def spy(self):
        seen.append(self.selection_losses())
        original(self)

    stage.on_train_epoch_end = spy.__get__(stage)
    result = stage.run()
    losses = torch.stack(seen)
    epoch, head = divmod(int(losses.argmin()), 3)
    assert (stage.best["epoch"], stage.best["head"]) == (epoch, head)
    assert stage.best["loss"] == pytest.approx(float(losses.min()))
    assert result.network["heads.weight"].shape == (1, 16, 10)
    assert result.probs.shape == (60, 10)


def test_with_a_frozen_backbone_only_the_heads_move_and_features_are_computed_once(work, encoder, neighbours):
    stage = scan(work, encoder, neighbours, update="heads")
    forwards = []
    stage.network.backbone.register_forward_hook(lambda _, inputs, __: forwards.append(len(inputs[0])))
    before = {name: value.clone() for name, value in stage.network.state_dict().items()}
    stage.run()
    assert changed(before, stage.network.state_dict()) == {"heads.weight", "heads.bias"}
    assert sum(forwards) == 60  # for training and for the result


def test_anchors_are_paired_with_their_own_candidates_by_sample_index(work, encoder, neighbours):
    stage = scan(work, encoder, neighbours)
    index = torch.tensor([3, 39, 12])
    allowed = [{i, (i + 1) % 40, (i + 2) % 40} for i in index.tolist()]
    drawn = [stage.draw_neighbours(index).tolist()]
    assert all(choice in options for choice, options in zip(drawn[0], allowed, strict=True))


def test_neighbours_are_drawn_with_equal_chances_the_sample_itself_included(work, encoder, neighbours):
    stage = scan(work, encoder, neighbours)
    drawn = stage.draw_neighbours(torch.full((6000,), 5))
    counts = torch.bincount(drawn, minlength=8)[5:8]
    assert int(counts.sum()) == 6000
    assert all(abs(int(count) - 2000) < 150 for count in counts)


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_selflabel_goes_on_when_nothing_passes_the_threshold_and_says_so(work, encoder, neighbours, caplog, ema_decay):
    start = scan(work, encoder, neighbours).run()
    settings = SelfLabelSettings(name="selflabel", threshold=0.999999, balanced=True, ema_decay=ema_decay, **COMMON)
    student = SelfLabel(settings=settings, work=beside(work), assignments=start)
    result = student.run()
    assert "lower student.threshold (now 0.999999)" in caplog.text
    assert torch.equal(result.network["heads.weight"], start.network["heads.weight"])


def test_selflabel_starts_from_the_clusters_it_is_given(work, encoder, neighbours):
    start = scan(work, encoder, neighbours).run()
    settings = SelfLabelSettings(name="selflabel", threshold=0.1, balanced=True, ema_decay=None, **COMMON)
    student = SelfLabel(settings=settings, work=work, assignments=start)
    assert changed(start.network, student.network.state_dict()) == set()


@pytest.mark.parametrize(
    ("probs", "confidence", "effective"),
    [
        (torch.eye(4), 1.0, 4.0),  # sure, and each cluster as often
        (torch.full((6, 4), 0.25), 0.25, 4.0),  # of nothing sure
        (torch.eye(4)[[2, 2, 2]], 1.0, 1.0),  # collapsed
        (torch.stack([torch.eye(4), torch.eye(4)[[2, 2, 2, 2]]]), 1.0, 2.5),  # two heads, the mean of both
    ],
)
def test_what_is_observed_of_clusters_is_how_sure_and_over_how_many_they_are_spread(work, probs, confidence, effective):
    stage = simclr(work)
    stage.observe_probs(probs)
    assert stage.observations.means() == pytest.approx({"confidence": confidence, "effective_clusters": effective})


def test_backbones_are_compiled_where_the_trainer_says_so_and_keep_their_names(work, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(type(module).__name__))
    stage = simclr(replace(work, trainer=work.trainer.model_copy(update={"compile": True})))
    names = set(stage.state_dict())
    stage.run()
    assert compiled == ["Small"]
    assert set(stage.state_dict()) == names


def test_nothing_is_compiled_on_a_cpu(work):
    assert not work.trainer.model_copy(update={"compile": True}).resolved().compile
