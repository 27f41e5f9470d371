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


def test_heads_start_in_the_range_of_a_linear_layer():
    torch.manual_seed(0)
    heads = ClusterHeads(heads=10, features=64, clusters=10)
    for parameter in (heads.weight, heads.bias):
        parameter = parameter.detach()
        assert float(parameter.abs().max()) <= 1 / 8
        assert abs(float(parameter.std()) - 1 / 8 / 3**0.5) < 0.01


def test_keeping_one_head_gives_that_heads_logits():
    many = network(heads=3).eval()
    one = network().eval()
    one.load_state_dict(only_head(many.state_dict(), 2))
    images = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(one(images)[0], many(images)[2])


def test_normalising_makes_logits_blind_to_the_length_of_features():
    features = torch.randn(4, 16)
    torch.testing.assert_close(
        network(normalise=True).classify(features), network(normalise=True).classify(7 * features)
    )
