import torch
from torch import nn

from clusterlab.models.norm import go_on_with, running_statistics_of_all


def trained():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    network(torch.randn(8, 1, 6, 6))
    return network


def statistics_of(network):
    return torch.cat([value for name, value in network.state_dict().items() if "running" in name])


def test_running_statistics_are_those_that_another_network_goes_on_with():
    network, fresh = trained(), nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(3))
    kept = running_statistics_of_all(network)
    assert kept.shape == (1, 10)
    go_on_with(kept, fresh)
    assert torch.equal(statistics_of(fresh), statistics_of(network))


def test_one_process_goes_on_with_the_mean_of_two():
    network = trained()
    own = running_statistics_of_all(network)
    go_on_with(torch.cat([own - 1, own + 1]), network)
    torch.testing.assert_close(statistics_of(network), own[0])


def test_a_network_without_batch_norm_has_no_statistics():
    network = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    kept = running_statistics_of_all(network)
    assert kept.numel() == 0
    go_on_with(kept, network)
