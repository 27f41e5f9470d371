"""What the reference was given: embeddings and probabilities of two clusters, and four groups with their truth."""

import torch
from torch.nn import functional as F


def directions(degrees):
    radians = torch.deg2rad(torch.tensor(degrees, dtype=torch.float32))
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def two_clusters(first):
    probs = torch.tensor(first)
    return torch.stack([probs, 1 - probs], dim=1)


CASE_A = (
    directions([0, 5, 11, 18, 26, 60, 65, 71, 78, 86]),
    two_clusters([0.995, 0.997, 0.996, 0.002, 0.994, 0.003, 0.001, 0.004, 0.005, 0.992]),
)
CASE_B = (
    directions([0, 4, 9, 15, 22, 30, 90, 93, 97, 102, 108, 115]),
    two_clusters([0.999, 0.998, 0.995, 0.991, 0.985, 0.40, 0.001, 0.002, 0.004, 0.006, 0.005, 0.30]),
)


def case_d():
    generator = torch.Generator().manual_seed(7)
    centres = F.normalize(torch.randn(4, 8, generator=generator), dim=1)
    truth = torch.arange(600) % 4
    values = F.normalize(centres[truth] + 0.35 * torch.randn(600, 8, generator=generator), dim=1)
    return values, (12 * values @ centres.T).softmax(dim=1), truth
