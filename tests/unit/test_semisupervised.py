from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from pydantic import PositiveFloat
from small_students import FEW, few_steps, make_student, shipped, some_assignments
from torch.nn import functional as F

from clusterlab.artifacts import PseudoLabels
from clusterlab.errors import UserError
from clusterlab.semisupervised import (
    SemiSupervisedSettings,
    SemiSupervisedStage,
    semisupervised_loss,
    weighted_cross_entropy,
)
from clusterlab.stage import PartSettings


class MarginSettings(SemiSupervisedSettings):
    margin: PositiveFloat


class Margin(SemiSupervisedStage):
    """A new student as short as it can be: a row counts if its cluster is ahead of the next by `margin`."""

    Settings: ClassVar[type[PartSettings]] = MarginSettings
    settings: MarginSettings

    def unlabelled_loss(self, weak, strong, index):
        first, second = weak.softmax(dim=1).topk(2).values.unbind(dim=1)
        return weighted_cross_entropy(strong, weak.argmax(dim=1), first - second >= self.settings.margin)


def margin(work, *, labels=FEW, num_clusters=10, assignments=None, **changes):
    shared = {n: v for n, v in few_steps("fixmatch", init="random") if n in SemiSupervisedSettings.model_fields}
    settings = MarginSettings(**(shared | {"name": "margin", "margin": 0.001, "strong_view": "strong"} | changes))
    given = PseudoLabels(labels, num_clusters=num_clusters)
    return Margin(settings=settings, work=work, pseudo_labels=given, assignments=assignments)


def test_the_loss_is_the_cross_entropy_and_the_weighted_term():
    logits = torch.tensor([[2.0, 1, 0], [0, 0, 1]])
    found = semisupervised_loss(logits, torch.tensor([0, 1]), torch.tensor(0.4), unlabelled_weight=2.5)
    assert float(found.supervised) == pytest.approx(0.97952533, abs=1e-6)
    assert float(found.total) == pytest.approx(0.97952533 + 2.5 * 0.4, abs=1e-6)


def test_labels_may_be_a_probability_for_each_cluster():
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    hard = semisupervised_loss(logits, torch.tensor([0, 3, 1]), torch.zeros(()), unlabelled_weight=1.0)
    soft = semisupervised_loss(
        logits, F.one_hot(torch.tensor([0, 3, 1]), 4).float(), torch.zeros(()), unlabelled_weight=1.0
    )
    assert float(hard.total) == pytest.approx(float(soft.total))


def test_weighted_cross_entropy_is_the_mean_over_all_rows():
    strong = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    weights, targets = [0.0, 0.5, 1.0, 0.25], [2, 0, 1, 1]
    terms = [w * -float(s.log_softmax(0)[t]) for w, s, t in zip(weights, strong, targets, strict=True)]
    found = weighted_cross_entropy(strong, torch.tensor(targets), torch.tensor(weights))
    assert float(found.total) == pytest.approx(sum(terms) / 4, rel=1e-6)
    assert float(found.kept) == pytest.approx(1.75 / 4)


def test_misaligned_rows_are_refused():
    with pytest.raises(Exception, match=r"shape|dimension|type"):
        weighted_cross_entropy(torch.zeros(4, 3), torch.zeros(4, dtype=torch.long), torch.ones(3))


def test_a_new_student_is_one_method(work):
    stage = margin(work)
    result = stage.run()
    assert result.probs.shape == (60, 10)
    metrics = {line.split(",")[3] for line in (work.folder / "history.csv").read_text().splitlines()[1:]}
    assert metrics == {"loss", "supervised", "unsupervised", "kept", "confidence", "effective_clusters", "lr"}


def test_the_term_sees_weak_logits_without_a_gradient_and_strong_ones_with_one(work):
    stage = margin(work)
    seen = []
    original = stage.unlabelled_loss

    def spy(weak, strong, index):
        seen.append((weak.requires_grad, strong.requires_grad, weak.shape, strong.shape, index.shape))
        return original(weak, strong, index)

    stage.unlabelled_loss = spy
    stage.run()
    assert seen == [(False, True, (12, 10), (12, 10), (12,))] * 6


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_term_is_computed_in_float32(work, precision):
    stage = margin(replace(work, trainer=work.trainer.model_copy(update={"precision": precision})))
    seen = []
    original = stage.unlabelled_loss

    def spy(weak, strong, index):
        seen.append((weak.dtype, strong.dtype, torch.is_autocast_enabled("cpu")))
        return original(weak, strong, index)

    stage.unlabelled_loss = spy
    stage.run()
    assert set(seen) == {(torch.float32, torch.float32, False)}


def test_without_weight_the_term_has_no_influence(work, tmp_path):
    (tmp_path / "other").mkdir()
    first = margin(work, unlabelled_weight=0.0, margin=0.001).run()
    other = margin(replace(work, folder=tmp_path / "other"), unlabelled_weight=0.0, margin=0.9).run()
    assert torch.equal(first.probs, other.probs)


def test_only_samples_with_a_label_are_drawn_as_labelled(work):
    stage = margin(work)
    drawn = []
    original = stage.draw_labelled
    stage.draw_labelled = lambda: drawn.append(original()) or drawn[-1]
    stage.run()
    assert len(drawn) == 6
    assert set(torch.cat(drawn).tolist()) == {3, 8, 21}


def test_unlabelled_images_are_drawn_from_all_that_features_may_be_trained_on(work):
    splits = ("train",) * 30 + ("test",) * 20 + ("unlabeled",) * 10
    stage = margin(replace(work, images=replace(work.images, splits=splits)), steps_per_epoch=100)
    seen = {int(i) for batch in stage.batches() for i in stage.pool()[batch]}
    assert seen == {*range(30), *range(50, 60)}
    assert all(len(batch) == 12 for batch in stage.batches())


def test_all_views_pass_the_network_at_once(work):
    stage = margin(work)
    sizes = []
    stage.network.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    stage.run()
    assert sizes == [4 + 12 + 12] * 6


def test_the_average_is_the_result_and_follows_every_step(work):
    stage = margin(work)
    result = stage.run()
    shadow = stage.ema.shadow.state_dict()
    assert all(torch.equal(result.network[name], value) for name, value in shadow.items())
    trained = stage.network.state_dict()
    assert not torch.equal(trained["heads.weight"], shadow["heads.weight"])
    assert torch.equal(trained["backbone.stem.1.running_mean"], shadow["backbone.stem.1.running_mean"])


def test_a_random_start_takes_nothing_from_the_clusters_and_has_an_output_per_label(work):
    network = margin(work, num_clusters=7, assignments=some_assignments(work)).network.state_dict()
    start = some_assignments(work).network
    assert not torch.equal(network["backbone.stem.0.weight"], start["backbone.stem.0.weight"])
    assert network["heads.bias"].shape == (1, 7)


def test_a_start_from_the_features_is_the_network_that_made_the_clusters(work):
    stage = margin(work, init="features", assignments=some_assignments(work, hidden=8))
    for name, value in some_assignments(work, hidden=8).network.items():
        assert torch.equal(stage.network.state_dict()[name], value), name


def test_a_start_from_the_features_with_another_backbone_is_refused_before_anything_runs():
    with pytest.raises(UserError, match=r"backbone@student.backbone=null, or student.init=random"):
        Margin.check(few_steps("fixmatch", init="features"), has_own_network=True)
    Margin.check(few_steps("fixmatch", init="features"), has_own_network=False)
    Margin.check(few_steps("fixmatch", init="random"), has_own_network=True)


def test_without_clusters_a_start_from_the_features_is_refused_and_a_random_one_is_not(work):
    with pytest.raises(UserError, match=r"use student.init=random"):
        margin(work, init="features", assignments=None)
    margin(work, init="random", assignments=None)
    assert "assignments" in shipped("fixmatch").part.optional


def test_the_rate_falls_to_a_fifth_by_the_last_step_and_batch_norm_is_not_decayed(work):
    stage = make_student("fixmatch", work)
    stage.run()
    optimiser = stage.trainer.optimizers[0]
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.03 * 0.19509032, rel=1e-6)
    assert optimiser.defaults["nesterov"]
    decays = {group["weight_decay"]: group["params"] for group in optimiser.param_groups}
    norms = [m for m in stage.network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {id(p) for p in decays[0.0]} == {id(p) for m in norms for p in m.parameters()}
    assert len(decays[5e-4]) + len(decays[0.0]) == len(list(stage.network.parameters()))
