import importlib.util

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from two_ranks import on_two_ranks

from clusterlab import approximate
from clusterlab.approximate import lists_for, nearest_with_lists
from clusterlab.errors import UserError
from clusterlab.nearest import Where, nearest_with_faiss

SIZE, COUNT = 3000, 10


def clustered(size=SIZE, *, dimensions=16, noise=1.5):
    """Unit vectors scattered around 30 directions."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(30, dimensions, generator=generator)
    scattered = centres[torch.arange(size) % 30] + noise * torch.randn(size, dimensions, generator=generator)
    return F.normalize(scattered, dim=1)


def search(values, count=COUNT, *, num_lists=None, num_probes=1, min_recall=0.0, seed=0, shared=False):
    return nearest_with_lists(
        values, count, num_lists=num_lists, num_probes=num_probes, min_recall=min_recall,
        purpose=(seed, "neighbours"), where=Where("neighbours", shared=shared),
    )  # fmt: skip


def found_share(found, exact):
    """Recall by membership, of every sample."""
    pairs = zip(found.tolist(), exact.tolist(), strict=True)
    return sum(len(set(a) & set(b)) for a, b in pairs) / exact.numel()


def test_with_every_list_searched_the_neighbours_are_the_exact_ones_but_for_rounding():
    values = clustered()
    found = search(values, num_lists=20, num_probes=20)
    exact = nearest_with_faiss(values, COUNT)
    assert found_share(found.position, exact) > 0.998
    assert found.recall > 0.998
    similarity = torch.einsum("nd,nmd->nm", values, values[found.position])
    assert bool((similarity[:, 1:] <= similarity[:, :-1] + 1e-3).all())


def test_no_sample_is_its_own_neighbour_and_none_occurs_twice():
    found = search(clustered(), num_probes=2).position
    assert not bool((found == torch.arange(SIZE)[:, None]).any())
    assert all(len(set(row)) == COUNT for row in found.tolist())


@pytest.mark.parametrize("num_probes", [1, 2, 8])
def test_the_recall_on_a_sample_is_close_to_that_of_all(num_probes):
    values = clustered()
    found = search(values, num_probes=num_probes)
    assert (found.num_probes, found.sampled) == (num_probes, 1000)
    share = found_share(found.position, nearest_with_faiss(values, COUNT))
    assert found.recall == pytest.approx(share, abs=0.02)
    assert share < 1


def test_the_recall_of_a_sample_of_everything_is_that_of_all(monkeypatch):
    monkeypatch.setattr(approximate, "SAMPLED", SIZE)
    values = clustered()
    found = search(values, num_probes=2)
    assert found.recall == pytest.approx(found_share(found.position, nearest_with_faiss(values, COUNT)), abs=2e-4)


def test_lists_searched_are_doubled_until_the_recall_is_reached():
    values = clustered()
    probes = {n: search(values, num_probes=n).recall for n in (1, 2, 4, 8, 16)}
    wanted = (probes[4] + probes[8]) / 2
    assert probes[4] < wanted < probes[8]
    found = search(values, num_probes=1, min_recall=wanted)
    assert (found.num_probes, found.recall) == (8, probes[8])


def test_no_more_lists_are_searched_than_there_are():
    found = search(clustered(noise=0.01), num_lists=6, min_recall=1.0)  # too close for half precision
    assert (found.num_lists, found.num_probes) == (6, 6)
    assert found.recall < 1


def test_of_identical_samples_any_is_an_exact_neighbour():
    values = clustered(100).repeat(30, 1)
    found = search(values, num_lists=20)
    assert found.recall == 1.0
    assert bool((found.position % 100 == torch.arange(SIZE)[:, None] % 100).all())


def test_where_the_lists_searched_hold_too_few_all_samples_are_compared():
    values = clustered(200)
    found = search(values, 20, num_lists=100)
    exact = nearest_with_faiss(values, 20)
    assert bool((found.position >= 0).all())
    # Two samples per list: next to none of the queries finds 20 in one.
    assert found_share(found.position, exact) > 0.9


def test_half_precision_samples_give_what_their_floats_give():
    values = clustered().half()
    assert torch.equal(search(values).position, search(values.float()).position)


def test_the_seed_decides_about_the_lists():
    values = clustered()
    first, again, other = (search(values, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.position, again.position)
    assert not torch.equal(first.position, other.position)


@pytest.mark.parametrize(("samples", "lists"), [(30, 1), (100, 2), (10_000, 250), (100_000, 1265), (1_281_167, 4528)])
def test_there_are_four_times_the_root_of_the_samples_lists_where_these_are_enough_to_learn_them(samples, lists):
    assert lists_for(samples) == lists
    assert samples // lists >= approximate.PER_LIST or lists == 1


def test_more_lists_than_samples_are_reduced():
    assert search(clustered(60), num_lists=1000, num_probes=2000).num_lists == 60


def searched_together(rank):
    approximate.ROWS = 128
    found = search(clustered(), num_probes=1, min_recall=0.9, shared=True)
    return found.position.numpy(), found.recall, found.num_probes


def test_two_processes_find_together_what_one_finds(monkeypatch):
    monkeypatch.setattr(approximate, "ROWS", 128)
    alone = search(clustered(), num_probes=1, min_recall=0.9)
    assert alone.num_probes > 1
    for position, recall, num_probes in on_two_ranks(searched_together):
        assert np.array_equal(position, alone.position.numpy())
        assert (recall, num_probes) == (alone.recall, alone.num_probes)


def test_without_faiss_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"of 3,000 images needs faiss, .* or use neighbours\.search=exact$"):
        search(clustered())
