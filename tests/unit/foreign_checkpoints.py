"""Checkpoints as other people leave them, of small networks with random weights."""

import torch
from safetensors.torch import save_file

MOCO = "module.encoder_q."


def randomised(network):
    """Fill every tensor, running statistics included, so that each of them matters."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator)
                value.copy_(noise.abs() + 0.5 if name.endswith("running_var") else 0.1 * noise)
    return network.eval()


def below(prefix, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


def moco(state, features):
    """As the authors of MoCo v2 write it: the query encoder, whose fc is a projection of two layers."""
    head = {f"fc.{layer}.{kind}": torch.rand(features) for layer in (0, 2) for kind in ("weight", "bias")}
    own = {name: value for name, value in state.items() if not name.startswith("fc.")}
    return {"epoch": 800, "arch": "resnet50", "state_dict": below(MOCO, own | head), "optimizer": {"state": {}}}


def dino(state):
    """As DINO's training script writes it: a student and its teacher, and the arguments."""
    import argparse

    other = {name: torch.zeros_like(value) for name, value in state.items()}
    return {
        "student": below("module.backbone.", other) | {"module.head.mlp.0.weight": torch.rand(3, 3)},
        "teacher": below("backbone.", state) | {"head.mlp.0.weight": torch.rand(3, 3)},
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_small", lr=0.1),
    }


def written(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file({name: value.clone() for name, value in content.items()}, path)
    else:
        torch.save(content, path)
    return path
