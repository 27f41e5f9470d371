import pytest
import torch

from clusterlab.models.backbones.small import Small, SmallSettings
from clusterlab.models.classifier import Classifier, ClusterHeads, grouped, only_head

GROUPS = torch.tensor([2, 0, 0, 2, 2])  # none in cluster 1


def network(**changes):
    torch.manual_seed(0)
    return Classifier(backbone=Small(settings=SmallSettings(name="small", width=4), channels=1), clusters=3, **changes)


def test_the_batched_heads_are_independent_linear_layers():
    torch.manual_seed(0)
    heads = ClusterHeads(heads=4, features=6, clusters=3)
    features = torch.randn(5, 6)
    for h, logits in enumerate(heads(features)):
        expected = torch.nn.functional.linear(features, heads.weight[h].T, heads.bias[h])
        torch.testing.assert_close(logits, expected)


def test_heads_with_a_hidden_layer_are_independent_perceptrons():
    torch.manual_seed(0)
    heads = ClusterHeads(heads=4, features=6, clusters=3, hidden=5)
    features = torch.randn(7, 6)
    for h, logits in enumerate(heads(features)):
        middle = torch.nn.functional.linear(features, heads.hidden_weight[h].T, heads.hidden_bias[h]).relu()
        expected = torch.nn.functional.linear(middle, heads.weight[h].T, heads.bias[h])
        torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize(("clusters", "parameters"), [(10, 267_786), (20, 272_916), (15, 270_351), (200, 365_256)])
def test_a_hidden_layer_of_512_has_the_reference_number_of_parameters(clusters, parameters):
    heads = ClusterHeads(heads=1, features=512, clusters=clusters, hidden=512)
    assert sum(p.numel() for p in heads.parameters()) == parameters


def test_each_head_can_be_given_features_of_its_own():
    torch.manual_seed(0)
    heads = ClusterHeads(heads=3, features=6, clusters=2, hidden=4)
    features = torch.randn(3, 5, 6)
    own = heads(features)
    for h in range(3):
        torch.testing.assert_close(own[h], heads(features[h])[h])


def test_heads_start_in_the_range_of_a_linear_layer():
    torch.manual_seed(0)
    heads = ClusterHeads(heads=10, features=64, clusters=10)
    for parameter in (heads.weight, heads.bias):
        parameter = parameter.detach()
        assert float(parameter.abs().max()) <= 1 / 8
        assert abs(float(parameter.std()) - 1 / 8 / 3**0.5) < 0.01


@pytest.mark.parametrize("hidden", [None, 7])
def test_keeping_one_head_gives_that_heads_logits(hidden):
    many = network(heads=3, hidden=hidden).eval()
    one = network(hidden=hidden).eval()
    one.load_state_dict(only_head(many.state_dict(), 2))
    images = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(one(images)[0], many(images)[2])


def test_normalising_makes_logits_blind_to_the_length_of_features():
    features = torch.randn(4, 16)
    torch.testing.assert_close(
        network(normalise=True).classify(features), network(normalise=True).classify(7 * features)
    )


def test_the_probability_of_a_cluster_is_the_sum_over_its_classes():
    logits = 4 * torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0))
    classes = logits.softmax(dim=-1)
    found = grouped(logits, GROUPS, 3).softmax(dim=-1)
    torch.testing.assert_close(found[..., 0], classes[..., 1] + classes[..., 2])
    torch.testing.assert_close(found[..., 2], classes[..., 0] + classes[..., 3] + classes[..., 4])
    torch.testing.assert_close(grouped(logits, torch.arange(5), 5), logits)


def test_a_cluster_without_a_class_has_no_probability_and_spoils_no_gradient():
    logits = torch.randn(1, 4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = grouped(logits, GROUPS, 3)
    assert found.isfinite().all()
    assert float(found.detach().softmax(dim=-1)[..., 1].max()) < 1e-30
    torch.nn.functional.cross_entropy(found[0], torch.tensor([0, 2, 1, 0])).backward()
    assert logits.grad.isfinite().all()
    assert float(logits.grad[0, 0].abs().max()) > 0


@pytest.mark.parametrize("size", [1e3, -1e3])
def test_clusters_of_large_logits_stay_finite(size):
    logits = torch.tensor([[[size, size + 2, size + 1, size, size]]])
    found = grouped(logits, GROUPS, 3)
    assert found.isfinite().all()
    torch.testing.assert_close(found.softmax(dim=-1), grouped(logits - size, GROUPS, 3).softmax(dim=-1))


def test_the_gradient_through_a_cluster_is_shared_out_by_its_classes_probabilities():
    logits = torch.randn(1, 1, 5, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda values: grouped(values, GROUPS, 3)[..., [0, 2]], logits)


def test_with_groups_the_heads_tell_classes_apart_and_the_network_clusters():
    made = network(groups=GROUPS).eval()
    images = torch.randn(2, 1, 16, 16)
    assert made.heads.weight.shape == (1, 16, 5)
    torch.testing.assert_close(made(images), grouped(made.heads(made.backbone(images)), GROUPS, 3))
    assert made(images).shape == (1, 2, 3)


def test_groups_travel_in_the_state_and_are_the_networks_own():
    mine = GROUPS.clone()
    made = network(groups=mine)
    mine.zero_()
    assert made.groups.equal(GROUPS)
    other = network(groups=torch.zeros(5, dtype=torch.int64)).eval()
    other.load_state_dict(made.state_dict())
    images = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(other(images), made.eval()(images))
    assert only_head(made.state_dict(), 0)["groups"].equal(GROUPS)


def test_without_groups_a_state_has_none():
    assert "groups" not in network().state_dict()
