import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clusterlab.artifacts import Embeddings, Encoder
from clusterlab.errors import UserError
from clusterlab.heads.spice import RatioSettings, Spice, SpiceSettings, spice_loss
from clusterlab.models.classifier import ClusterHeads
from clusterlab.models.optim import OptimiserSettings
from clusterlab.prototype_labels import prototype_labels

OPTIMISER = OptimiserSettings(name="adam", lr=0.005, weight_decay=0, momentum=0, schedule="constant", final_lr_ratio=1)
WHOLE = {"start": 1.0, "end": 1.0, "first_epoch": 0, "up_epoch": None, "down_epoch": None, "last_epoch": 0}


@pytest.mark.parametrize(
    ("up", "down", "want"),
    [
        (20, 30, {0: 0.5, 9: 0.5, 10: 0.5, 15: 0.725, 19: 0.905, 20: 0.95, 25: 0.95, 30: 0.95, 35: 0.725, 39: 0.545,
                  40: 0.5, 60: 0.5}),
        (None, None, {10: 0.5, 11: 0.515, 25: 0.725, 40: 0.95, 41: 0.5}),
    ],
)  # fmt: skip
def test_the_ratio_follows_the_reference_schedule(up, down, want):
    ratio = RatioSettings(start=0.5, end=0.95, first_epoch=10, up_epoch=up, down_epoch=down, last_epoch=40)
    assert {epoch: ratio.at(epoch) for epoch in want} == pytest.approx(want)


def test_a_schedule_that_runs_backwards_is_refused():
    with pytest.raises(ValueError, match="come in this order"):
        RatioSettings(start=0.5, end=0.9, first_epoch=10, up_epoch=5, down_epoch=None, last_epoch=40)


LOGITS = [[2, 0.5, -1], [0.1, 0.2, 0.3], [-1, 3, 0], [1, 1, 1]]


@pytest.mark.parametrize(("double", "want"), [(True, 0.86465883), (False, 0.60193759)])
def test_the_loss_agrees_with_the_reference(double, want):
    loss = spice_loss(torch.tensor(LOGITS), torch.tensor([0, 2, 1, 0]), double_softmax=double)
    assert float(loss) == pytest.approx(want, abs=1e-7)


def test_the_gradient_agrees_with_the_reference():
    logits = torch.tensor(LOGITS, requires_grad=True)
    spice_loss(logits, torch.tensor([0, 2, 1, 0]), double_softmax=True).backward()
    want = [
        [-0.03230939, 0.02668939, 0.00561999], [0.02672235, 0.03039309, -0.05711543],
        [0.00267911, -0.01003850, 0.00735938], [-0.05555555, 0.02777778, 0.02777778],
    ]  # fmt: skip
    assert logits.grad.tolist() == [pytest.approx(row, abs=1e-7) for row in want]


@pytest.mark.parametrize(("k", "lowest"), [(10, 1.461150), (15, 1.816503), (20, 2.078154), (200, 4.306872)])
def test_double_softmax_has_the_bounds_of_the_reference(k, lowest):
    sure, label = 1e4 * F.one_hot(torch.tensor([0]), k).double(), torch.tensor([0])
    values = [
        float(spice_loss(logits, label, double_softmax=True))
        for logits in (sure, torch.zeros(1, k).double(), sure.roll(1, dims=1))
    ]
    assert values == pytest.approx([lowest, math.log(k), lowest + 1], abs=1e-6)


def test_each_head_has_the_loss_it_has_alone():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(3, 5, 4, generator=generator), torch.randint(4, (3, 5), generator=generator)
    alone = [float(spice_loss(logits[h], labels[h], double_softmax=True)) for h in range(3)]
    assert spice_loss(logits, labels, double_softmax=True).tolist() == pytest.approx(alone)


def test_misaligned_labels_are_refused():
    with pytest.raises(Exception, match=r"shape|dimension|type"):
        spice_loss(torch.zeros(4, 3), torch.zeros(5, dtype=torch.int64), double_softmax=True)


def wave(*shape, phase):
    return torch.sin(1.7 * torch.arange(math.prod(shape)).float() + phase).view(shape)


def reference_head():
    heads = ClusterHeads(heads=1, features=3, hidden=4, clusters=3)
    with torch.no_grad():
        heads.hidden_weight[0] = wave(4, 3, phase=0).T
        heads.hidden_bias[0] = wave(4, phase=1)
        heads.weight[0] = wave(3, 4, phase=2).T
        heads.bias[0] = wave(3, phase=3)
    return heads


def test_the_head_agrees_with_the_reference():
    logits = reference_head()(torch.tensor([[1, 0, -1], [0.5, 0.5, 0.5], [-2, 1, 0.25]]))
    want = [
        [0.59341073, 0.14509052, 0.26149875], [0.68869716, 0.12002801, 0.19127493], [0.88832778, 0.05756506, 0.05410718]
    ]  # fmt: skip
    assert logits[0].softmax(1).tolist() == [pytest.approx(row, abs=1e-6) for row in want]
    loss = spice_loss(logits, torch.tensor([[2, 0, 1]]), double_softmax=True)
    assert float(loss.detach()) == pytest.approx(1.14079618, abs=1e-6)


def test_the_head_reads_the_mean_over_a_feature_map():
    maps = torch.arange(24).float().view(2, 3, 2, 2) / 10
    want = [[0.74140006, 0.10302380, 0.15557612], [0.85215044, 0.07622228, 0.07162722]]
    scores = reference_head()(maps.mean((2, 3)))[0].softmax(1)
    assert scores.tolist() == [pytest.approx(row, abs=1e-6) for row in want]


@pytest.mark.parametrize("sigma", [0.9, 1.4])
def test_the_head_with_the_lowest_loss_is_right_though_other_heads_are_not(sigma):
    """The alternation of labels and steps on fixed features: several heads and the choice by loss are what holds it."""
    accuracies = [em_on_mixture(sigma, seed) for seed in range(5)]
    assert min(best for best, _ in accuracies) >= 0.97
    assert min(worst for _, worst in accuracies) < 0.9


def em_on_mixture(sigma, seed, *, k=5, d=32, n=1000, h=10):
    torch.manual_seed(seed)
    truth = torch.arange(n) % k
    values = F.normalize(torch.randn(k, d), dim=1)[truth] + sigma / d**0.5 * torch.randn(n, d)
    embeddings = F.normalize(values, dim=1)
    heads = ClusterHeads(heads=h, features=d, hidden=d, clusters=k)
    optimiser = torch.optim.Adam(heads.parameters(), lr=0.005)
    lowest, best = math.inf, torch.empty(0)
    settings = {"centre_ratio": 0.5, "ratio": 1.0, "overlap": True}
    rows_of_heads = torch.arange(h)[:, None]
    for _ in range(6):
        for _ in range(2):
            rows, labels = prototype_labels(heads(embeddings).softmax(-1), embeddings, **settings)
            for _ in range(8):
                for chosen in torch.randperm(n)[: n // 128 * 128].split(128):
                    loss = spice_loss(heads(embeddings[rows[:, chosen]]), labels[:, chosen], double_softmax=True)
                    optimiser.zero_grad()
                    loss.mean().backward()
                    optimiser.step()
        logits = heads(embeddings).detach()
        rows, labels = prototype_labels(logits.softmax(-1), embeddings, **settings)
        losses = spice_loss(logits[rows_of_heads, rows], labels, double_softmax=True)
        if float(losses.min()) < lowest:
            lowest, best = float(losses.min()), logits[losses.argmin()]
    return accuracy(best, truth, k), min(accuracy(head, truth, k) for head in logits)


def accuracy(logits, truth, k):
    from scipy.optimize import linear_sum_assignment

    counts = torch.zeros(k, k).index_put_((logits.argmax(1), truth), torch.ones(()), accumulate=True)
    rows, columns = linear_sum_assignment(-counts)
    return float(counts[rows, columns].sum()) / len(truth)


def spice(work, **changes):
    torch.manual_seed(1)
    network = work.network.build()
    with torch.no_grad():  # statistics that a forward pass in train mode would not give
        for _ in range(3):
            network(torch.rand(32, 1, 8, 8))
    values = {
        "max_epochs": 2, "batch_size": 20, "num_heads": 3, "hidden_dim": 8, "num_repeats": 2, "train_batch_size": 8,
        "view_batch_size": 7, "centre_ratio": 0.5, "ratio": RatioSettings(**WHOLE), "overlap": True,
        "double_softmax": True, "freeze_bn": True, "score_view": "weak", "train_view": "strong",
        "optimiser": OPTIMISER,
    }  # fmt: skip
    embeddings = F.normalize(torch.randn(60, 16), dim=1)
    return Spice(
        settings=SpiceSettings(name="spice", **(values | changes)), work=work,
        encoder=Encoder(backbone=network.state_dict(), projection={}), embeddings=Embeddings(embeddings),
    )  # fmt: skip


class PlainHead(nn.Module):
    """One head as the authors have it: layers of its own."""

    def __init__(self, heads, h):
        super().__init__()
        self.first, self.second = nn.Linear(16, 8), nn.Linear(8, 10)
        with torch.no_grad():
            self.first.weight.copy_(heads.hidden_weight[h].T)
            self.first.bias.copy_(heads.hidden_bias[h])
            self.second.weight.copy_(heads.weight[h].T)
            self.second.bias.copy_(heads.bias[h])

    def forward(self, features):
        return self.second(self.first(features).relu())


def plain_outer_iteration(stage, index, *, freeze_bn):
    """One outer iteration as the authors' code does it: a loop over heads, every mini-batch through the backbone."""
    backbone, settings = stage.network.backbone, stage.settings
    heads = [PlainHead(stage.network.heads, h) for h in range(3)]
    optimiser = torch.optim.Adam([p for head in heads for p in head.parameters()], lr=0.005)
    strong = torch.cat(list(stage.views(index, stage.train_view, "train")))
    backbone.eval()
    with torch.no_grad():
        weak = backbone(torch.cat(list(stage.views(index, stage.score_view, "score"))))
    picked = [
        prototype_labels(
            head(weak).softmax(1).detach(), stage.embeddings[index], centre_ratio=0.5, ratio=1.0, overlap=True
        )
        for head in heads
    ]
    generator = stage.draws("order")
    for _ in range(settings.num_repeats):
        order = torch.randperm(len(picked[0].rows), generator=generator)
        for chosen in order[: len(order) // 8 * 8].split(8):
            backbone.train(not freeze_bn)
            with torch.no_grad():
                features = backbone(torch.cat([strong[rows[chosen]] for rows, _ in picked])).chunk(3)
            losses = [
                F.cross_entropy(head(mine).softmax(1), labels[chosen])
                for head, mine, (_, labels) in zip(heads, features, picked, strict=True)
            ]
            optimiser.zero_grad()
            torch.stack(losses).mean().backward()
            optimiser.step()
    return heads


@pytest.mark.parametrize("freeze_bn", [True, False])
def test_an_outer_iteration_gives_what_the_plain_loop_gives(work, freeze_bn):
    plain, stage = spice(work, freeze_bn=freeze_bn), spice(work, freeze_bn=freeze_bn)
    seen = []
    original = stage.training_step

    def once(index):
        if not seen:
            seen.append((index, {name: value.clone() for name, value in stage.network.state_dict().items()}))
            original(index, 0)
            seen.append({name: value.clone() for name, value in stage.network.state_dict().items()})

    stage.training_step = once
    stage.run()
    (index, before), after = seen
    plain.pixels = stage.pixels
    for name, value in plain.network.state_dict().items():
        torch.testing.assert_close(before[name], value)
    plain.trainer = type("Trainer", (), {"global_step": 0})()
    heads = plain_outer_iteration(plain, index, freeze_bn=freeze_bn)
    for h, head in enumerate(heads):
        torch.testing.assert_close(after["heads.hidden_weight"][h].T, head.first.weight.detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(after["heads.weight"][h].T, head.second.weight.detach(), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(after["heads.weight"], before["heads.weight"], atol=1e-3)
    for name, value in plain.network.backbone.state_dict().items():
        torch.testing.assert_close(after[f"backbone.{name}"], value)


@pytest.mark.parametrize("freeze_bn", [True, False])
def test_statistics_drift_only_where_they_are_not_frozen_and_weights_never(work, freeze_bn):
    stage = spice(work, freeze_bn=freeze_bn)
    before = {name: value.clone() for name, value in stage.network.backbone.state_dict().items()}
    stage.run()
    changed = {n for n, value in stage.network.backbone.state_dict().items() if not torch.equal(before[n], value)}
    statistics = {name for name in before if "running" in name or "num_batches" in name}
    assert changed == (set() if freeze_bn else statistics)


def test_a_frozen_view_passes_the_backbone_once_per_outer_iteration(work):
    stage = spice(work, num_repeats=5)
    passed = 0

    def count(module, inputs, output):
        nonlocal passed
        passed += len(inputs[0])

    stage.network.backbone.register_forward_hook(count)
    stage.run()
    before = 60  # features of every image, from which the assignments at the end are made, too
    assert passed == before + 2 * 2 * 2 * 20  # epochs × iterations × views × images


def test_the_head_and_epoch_with_the_lowest_loss_are_kept(work):
    stage = spice(work, max_epochs=4)
    seen = []
    original = stage.selection_losses

    def spy():
        seen.append(original())
        return seen[-1]

    stage.selection_losses = spy
    result = stage.run()
    losses = torch.stack(seen)
    assert (stage.best["epoch"], stage.best["head"]) == divmod(int(losses.argmin()), 3)
    assert result.hidden == 8
    assert result.network["heads.hidden_weight"].shape == (1, 16, 8)


def test_more_clusters_than_prototypes_is_one_line_with_the_settings_to_change(work):
    with pytest.raises(UserError, match=r"head.batch_size=20 .* head.centre_ratio than 0.5 or head.ratio than 1"):
        spice(work, batch_size=15)


def test_a_share_that_is_none_of_a_million_images_is_refused():
    with pytest.raises(ValueError, match=r"greater than or equal to 0\.000001"):
        RatioSettings(**WHOLE | {"start": 1e-7})
