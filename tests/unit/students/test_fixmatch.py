from dataclasses import replace

import pytest
import torch

from clusterlab.artifacts import Assignments, PseudoLabels
from clusterlab.errors import UserError
from clusterlab.models.classifier import Classifier
from clusterlab.models.optim import OptimiserSettings
from clusterlab.students.fixmatch import FixMatch, FixMatchSettings, fixmatch_loss

OPTIMISER = OptimiserSettings(
    name="nesterov", lr=0.03, weight_decay=5e-4, momentum=0.9, schedule="cosine_7_16", final_lr_ratio=1
)
WEAK = [[4, 0, 0], [1, 0.5, 0], [0, 0, 5], [0, 3.7, 0]]
STRONG = [[1, 0.2, -0.5], [0.3, 0.3, 0.3], [0.1, -0.4, 0.9], [0, 1, 2]]


def loss(weak=WEAK, strong=STRONG, **changes):
    settings = {"threshold": 0.95, "temperature": 0.5, "target": "hard", "unlabelled_weight": 1.0} | changes
    weak, strong = (torch.as_tensor(values, dtype=torch.float32) for values in (weak, strong))
    labelled = torch.tensor([[2.0, 1, 0], [0, 0, 1]])
    return fixmatch_loss(labelled, torch.tensor([0, 1]), weak, strong, **settings)


@pytest.mark.parametrize(
    ("settings", "want", "kept"),
    [
        ({}, 0.61632663, 0.75),
        ({"target": "soft"}, 0.61654317, 0.75),
        ({"threshold": 0.0}, 0.89097971, 1),
        ({"target": "logits"}, 3.18166661, 1),
    ],
)
def test_values_agree_with_the_reference(settings, want, kept):
    found = loss(**settings)
    assert float(found.unsupervised) == pytest.approx(want, abs=1e-6)
    assert float(found.kept) == kept
    assert float(found.supervised) == pytest.approx(0.97952533, abs=1e-6)
    assert float(found.total) == pytest.approx(want + 0.97952533, abs=1e-6)


def test_agrees_with_the_formula_written_out_as_loops():
    generator = torch.Generator().manual_seed(0)
    weak, strong = 3 * torch.randn(9, 3, generator=generator), torch.randn(9, 3, generator=generator)
    terms = []
    for w, s in zip(weak, strong, strict=True):
        p = w.softmax(0)
        terms.append(-float(s.log_softmax(0)[p.argmax()]) if float(p.max()) >= 0.8 else 0.0)
    assert 0 < sum(term > 0 for term in terms) < 9
    found = loss(weak, strong, threshold=0.8, unlabelled_weight=2.5)
    assert float(found.unsupervised) == pytest.approx(sum(terms) / 9, rel=1e-5)
    assert float(found.total) == pytest.approx(0.97952533 + 2.5 * sum(terms) / 9, rel=1e-5)


def test_the_threshold_counts_what_reaches_it():
    assert float(loss(weak=[[0.0, 0, -1e4]], strong=[[0.0, 0, 0]], threshold=0.5).kept) == 1


def test_nothing_confident_leaves_the_supervised_loss_with_a_gradient_of_zero_for_the_rest():
    strong = torch.randn(4, 3, requires_grad=True)
    found = fixmatch_loss(
        torch.zeros(1, 3), torch.tensor([0]), torch.zeros(4, 3), strong, threshold=0.95, temperature=0.5, target="hard",
        unlabelled_weight=1.0,
    )  # fmt: skip
    found.total.backward()
    assert float(found.unsupervised.detach()) == 0
    assert float(strong.grad.abs().max()) == 0


@pytest.mark.parametrize("target", ["hard", "soft", "logits"])
def test_no_gradient_reaches_the_weak_views(target):
    weak, strong = torch.tensor(WEAK).requires_grad_(), torch.tensor(STRONG).requires_grad_()
    fixmatch_loss(
        torch.zeros(1, 3), torch.tensor([0]), weak, strong, threshold=0.5, temperature=0.5, target=target,
        unlabelled_weight=1.0,
    ).total.backward()  # fmt: skip
    assert weak.grad is None
    assert float(strong.grad.abs().max()) > 0


def test_misaligned_views_are_refused():
    with pytest.raises(Exception, match=r"shape|dimension|type"):
        loss(strong=STRONG[:3])


def assignments(work, *, hidden=None):
    torch.manual_seed(3)
    network = Classifier(backbone=work.network.build(), clusters=10, hidden=hidden)
    return Assignments(
        probs=torch.full((60, 10), 0.1), embeddings=torch.zeros(60, 16).half(), network=network.state_dict(),
        hidden=hidden, normalise=False,
    )  # fmt: skip


FEW = torch.full((60,), -1).index_copy(0, torch.tensor([3, 8, 21]), torch.tensor([1, 0, 2]))


def fixmatch(work, *, hidden=None, labels=FEW, **changes):
    values = {
        "max_epochs": 2, "batch_size": 4, "ema_decay": 0.9, "steps_per_epoch": 3, "unlabelled_ratio": 2,
        "threshold": 0.1, "temperature": 0.5, "target": "hard", "unlabelled_weight": 1.0, "init": "random",
        "strong_view": "strong", "optimiser": OPTIMISER,
    }  # fmt: skip
    return FixMatch(
        settings=FixMatchSettings(name="fixmatch", **(values | changes)), work=work,
        pseudo_labels=PseudoLabels(labels), assignments=assignments(work, hidden=hidden),
    )  # fmt: skip


def test_only_samples_with_a_label_are_drawn_as_labelled(work):
    stage = fixmatch(work)
    drawn = []
    original = stage.draw_labelled

    def spy():
        drawn.append(original())
        return drawn[-1]

    stage.draw_labelled = spy
    stage.run()
    assert len(drawn) == 6
    assert set(torch.cat(drawn).tolist()) == {3, 8, 21}


def test_unlabelled_images_are_drawn_from_all_that_features_may_be_trained_on(work):
    splits = ("train",) * 30 + ("test",) * 20 + ("unlabeled",) * 10
    stage = fixmatch(replace(work, images=replace(work.images, splits=splits)), steps_per_epoch=100)
    seen = {int(i) for batch in stage.batches() for i in stage.pool()[batch]}
    assert seen == {*range(30), *range(50, 60)}
    assert all(len(batch) == 8 for batch in stage.batches())


def test_all_views_pass_the_network_at_once(work):
    stage = fixmatch(work)
    sizes = []
    stage.network.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    stage.run()
    assert sizes == [4 + 8 + 8] * 6


def test_the_average_is_the_result_and_follows_every_step(work):
    stage = fixmatch(work)
    result = stage.run()
    shadow = stage.ema.shadow.state_dict()
    assert all(torch.equal(result.network[name], value) for name, value in shadow.items())
    trained = stage.network.state_dict()
    assert not torch.equal(trained["heads.weight"], shadow["heads.weight"])
    assert torch.equal(trained["backbone.stem.1.running_mean"], shadow["backbone.stem.1.running_mean"])


def test_a_random_start_takes_nothing_from_the_clusters(work):
    assert not torch.equal(fixmatch(work).network.state_dict()["backbone.stem.0.weight"],
                           assignments(work).network["backbone.stem.0.weight"])  # fmt: skip


def test_a_start_from_the_features_is_the_network_that_made_the_clusters(work):
    stage = fixmatch(work, init="features", hidden=8)
    for name, value in assignments(work, hidden=8).network.items():
        assert torch.equal(stage.network.state_dict()[name], value), name


def test_a_start_from_the_features_with_another_backbone_is_refused_before_anything_runs(work):
    from_features, at_random = (fixmatch(work, init=init).settings for init in ("features", "random"))
    with pytest.raises(UserError, match=r"backbone@student.backbone=null, or student.init=random"):
        FixMatch.check(from_features, has_own_network=True)
    FixMatch.check(from_features, has_own_network=False)
    FixMatch.check(at_random, has_own_network=True)


def test_the_rate_falls_to_a_fifth_by_the_last_step_and_batch_norm_is_not_decayed(work):
    stage = fixmatch(work)
    stage.run()
    optimiser = stage.trainer.optimizers[0]
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.03 * 0.19509032, rel=1e-6)
    assert optimiser.defaults["nesterov"]
    decays = {group["weight_decay"]: group["params"] for group in optimiser.param_groups}
    norms = [m for m in stage.network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {id(p) for p in decays[0.0]} == {id(p) for m in norms for p in m.parameters()}
    assert len(decays[5e-4]) + len(decays[0.0]) == len(list(stage.network.parameters()))


def test_it_learns_the_labels_it_is_given(work):
    from sklearn.datasets import load_digits

    given = torch.full((60,), -1)
    given[:30] = torch.from_numpy(load_digits().target[:30]).long()
    quick = OPTIMISER.model_copy(update={"schedule": "constant"})
    stage = fixmatch(
        work, labels=given, steps_per_epoch=60, batch_size=16, unlabelled_ratio=1, threshold=0.9, optimiser=quick
    )
    learned = stage.run().probs.argmax(1)
    assert float((learned[:30] == given[:30]).double().mean()) > 0.7
