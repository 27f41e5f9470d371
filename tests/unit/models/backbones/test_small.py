import torch

from clusterlab.models.backbones.small import Small, SmallSettings


def test_features_are_four_times_the_width_and_every_weight_gets_a_gradient():
    backbone = Small(settings=SmallSettings(name="small", width=8), channels=1)
    features = backbone(torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0)))
    assert features.shape == (4, 32) == (4, backbone.feature_dim)
    features.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in backbone.parameters())
