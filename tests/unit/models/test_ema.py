import torch
from torch import nn

from clusterlab.models.ema import Ema


def test_the_shadow_moves_by_one_minus_decay_and_buffers_are_copied():
    network = nn.BatchNorm1d(1)
    ema = Ema(network, decay=0.999)
    for step in range(1, 4):
        with torch.no_grad():
            network.weight += 1
            network.running_mean += 5
        ema.update(network)
        if step == 1:
            assert abs(float(ema.shadow.weight.detach()) - 1.001) < 1e-6
    assert float(ema.shadow.running_mean) == 15


def test_the_shadow_is_no_part_of_what_is_trained():
    assert not any(p.requires_grad for p in Ema(nn.Linear(2, 2), decay=0.9).parameters())


def test_buffers_can_be_left_to_the_shadow():
    network = nn.BatchNorm1d(1)
    ema = Ema(network, decay=0.9, copy_buffers=False)
    with torch.no_grad():
        network.running_mean += 5
    ema.update(network)
    assert float(ema.shadow.running_mean) == 0
