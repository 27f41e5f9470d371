from typing import ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clusterlab.models.classifier import Classifier
from clusterlab.models.optim import OptimiserSettings
from clusterlab.stage import PartSettings
from clusterlab.student import StudentSettings, StudentStage

SHIFT = torch.tensor([3, 4, 5, 6, 7, 8, 9, 0, 1, 2])  # not its own inverse


class Cost(NamedTuple):
    total: Tensor
    smallest: Tensor


class Plain(StudentStage):
    """Learns whatever `wanted` says each image is."""

    Settings: ClassVar[type[PartSettings]] = StudentSettings

    def objective(self, index):
        logits = self.network(self.look(self.view("plain"), index, "plain"))[0]
        losses = F.cross_entropy(logits, self.wanted[index], reduction="none")
        self.counts.index_add_(0, self.wanted[index], torch.ones(len(index)))
        return Cost(losses.mean(), losses.detach().min())


def plain(work, *, optimiser="sgd", ema_decay=0.5, groups=None):
    settings = StudentSettings(
        name="plain", max_epochs=2, batch_size=8, ema_decay=ema_decay,
        optimiser=OptimiserSettings(
            name=optimiser, lr=0.05, weight_decay=1e-3, momentum=0.9, schedule="constant", final_lr_ratio=1
        ),
    )  # fmt: skip
    stage = Plain(
        settings=settings, work=work,
        make_network=lambda: Classifier(backbone=work.network.build(), clusters=10, groups=groups),
    )  # fmt: skip
    stage.register_per_class("counts", torch.zeros(10))
    stage.register_per_sample("wanted", torch.arange(60) % 10)
    return stage


def test_the_total_is_minimised_and_every_term_is_written_down(work):
    stage = plain(work)
    stage.run()
    rows = [line.split(",") for line in (work.folder / "history.csv").read_text().splitlines()[1:]]
    assert {row[3] for row in rows} == {"loss", "smallest", "lr"}
    losses = [float(row[4]) for row in rows if row[3] == "loss"]
    assert losses[1] < losses[0]


def test_registered_state_is_in_the_checkpoint(work):
    stage = plain(work)
    stage.counts += 3
    stage.wanted[7] = -1
    other = plain(work)
    other.load_state_dict(stage.state_dict())
    assert torch.equal(other.counts, stage.counts)
    assert torch.equal(other.wanted, stage.wanted)


def test_remap_renames_what_knows_clusters_by_number(work):
    stage = plain(work)
    stage.counts.copy_(torch.arange(10.0))
    stage.wanted[0] = -1
    images = torch.randn(4, 1, 8, 8)
    before = [network.eval()(images)[0] for network in (stage.network, stage.ema.shadow)]
    stage.remap(SHIFT)
    for network, logits in zip((stage.network, stage.ema.shadow), before, strict=True):
        assert torch.allclose(network(images)[0][:, SHIFT], logits, atol=1e-6)
    assert stage.counts[SHIFT].tolist() == list(range(10))
    assert stage.wanted[:12].tolist() == [-1, *SHIFT[1:].tolist(), *SHIFT[:2].tolist()]


def test_remap_there_and_back_changes_nothing(work):
    stage = plain(work)
    before = {name: value.clone() for name, value in stage.state_dict().items()}
    stage.remap(SHIFT)
    stage.remap(SHIFT.argsort())
    assert all(torch.equal(value, before[name]) for name, value in stage.state_dict().items())


def test_where_finer_classes_make_up_the_clusters_remap_regroups_them(work):
    groups = torch.arange(20) % 10
    stage = plain(work, groups=groups)
    images = torch.randn(4, 1, 8, 8)
    logits = stage.network.eval()(images)[0]
    stage.remap(SHIFT)
    assert torch.allclose(stage.network(images)[0][:, SHIFT], logits, atol=1e-6)
    assert torch.equal(stage.ema.shadow.groups, SHIFT[groups])


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_remap_in_the_middle_of_the_training_takes_the_optimisers_averages_along(work, tmp_path, optimiser):
    from dataclasses import replace

    def trained(folder, *, remapped):
        folder.mkdir()
        made = []

        def at_epoch_end(epoch, *_):
            if remapped and epoch == 0:
                made[0].remap(SHIFT)

        made.append(plain(replace(work, folder=folder, listener=at_epoch_end), optimiser=optimiser))
        return made[0].run().probs

    straight, renamed = (trained(tmp_path / name, remapped=name == "b") for name in ("a", "b"))
    assert torch.allclose(renamed[:, SHIFT], straight, atol=1e-4)
    assert not torch.allclose(renamed, straight, atol=1e-2)


def test_without_an_average_the_network_itself_is_the_teacher(work):
    stage = plain(work, ema_decay=None)
    assert stage.teacher is stage.network
    stage.remap(SHIFT)
