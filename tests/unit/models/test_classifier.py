import pytest
import torch

from clusterlab.models.backbones.small import Small, SmallSettings
from clusterlab.models.classifier import Classifier, ClusterHeads, only_head


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
