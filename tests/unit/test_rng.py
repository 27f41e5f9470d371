import torch

from clusterlab.rng import generator_for, seed_for


def test_every_part_of_the_purpose_counts():
    seeds = {seed_for(seed, stage, step) for seed in range(5) for stage in ("head", "student") for step in range(5)}
    assert len(seeds) == 50
    assert seed_for(1, 23) != seed_for(12, 3)


def test_the_same_purpose_gives_the_same_draws():
    draws = [torch.rand(4, generator=generator_for(0, "head", "view", 7)) for _ in range(2)]
    assert torch.equal(*draws)
    assert not torch.equal(draws[0], torch.rand(4, generator=generator_for(0, "head", "view", 8)))
