from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F
from two_ranks import on_two_ranks

from clusterlab.artifacts import Embeddings, load, save
from clusterlab.computed import neighbours as module
from clusterlab.computed.neighbours import FindNeighbours, NeighboursSettings
from clusterlab.errors import UserError


def directions():
    return F.normalize(torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), dim=1)


def neighbours(work, *, train=3, scored=2, backend="torch", **changed):
    values = directions()
    chosen = {"search": "auto", "exact_limit": 1000, "num_lists": None, "num_probes": 1, "min_recall": 0.0} | changed
    settings = NeighboursSettings(
        name="neighbours", num_neighbours=train, num_eval_neighbours=scored, backend=backend, **chosen
    )
    return values, FindNeighbours(settings=settings, work=work, embeddings=Embeddings(values=values)).run()


def messages(caplog):
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_neighbours_are_the_nearest_others_of_the_same_pool_by_sample_index(work, backend):
    values, found = neighbours(work, backend=backend)
    similarity = (values @ values.T).fill_diagonal_(-2)
    assert torch.equal(found.train, similarity[:40, :40].topk(3).indices)
    assert torch.equal(found.eval, 40 + similarity[40:, 40:].topk(2).indices)
    assert found.recall is None


def test_more_neighbours_than_other_images_are_reduced_with_a_warning(work, caplog):
    _, found = neighbours(work, train=50, scored=19)
    assert (found.train.shape, found.eval.shape) == ((40, 39), (20, 19))
    assert messages(caplog) == ["neighbours.num_neighbours=50, but each of 40 images has only 39 others: using 39"]


def test_a_single_image_has_no_neighbours_and_that_is_said(work):
    one = replace(work, images=replace(work.images, splits=("train",) * 59 + ("test",)))
    with pytest.raises(UserError, match="1 image is too few to find neighbours"):
        neighbours(one)


@pytest.mark.parametrize(
    ("search", "exact_limit", "approximate"),
    [("auto", 40, []), ("auto", 39, [40]), ("auto", 19, [40, 20]), ("exact", 1, []), ("approximate", 1000, [40, 20])],
)
def test_pools_above_the_limit_are_searched_approximately(work, monkeypatch, search, exact_limit, approximate):
    searched = []

    def spy(values, count, **more):
        searched.append(len(values))
        return found(values, count, **more)

    found = module.nearest_with_lists
    monkeypatch.setattr(module, "nearest_with_lists", spy)
    _, result = neighbours(work, search=search, exact_limit=exact_limit)
    assert searched == approximate
    assert (result.recall is None) == (not approximate)


def test_an_approximate_search_says_what_it_finds_and_holds_the_lowest_recall(work, caplog):
    caplog.set_level("INFO")
    values, found = neighbours(work, search="approximate", num_lists=5, num_probes=2)
    similarity = (values @ values.T).fill_diagonal_(-2)
    exact = similarity[:40, :40].topk(3).indices, 40 + similarity[40:, 40:].topk(2).indices
    shares = [
        sum(len(set(a) & set(b)) for a, b in zip(got.tolist(), wanted.tolist(), strict=True)) / wanted.numel()
        for got, wanted in zip((found.train, found.eval), exact, strict=True)
    ]
    assert found.recall == pytest.approx(min(shares))
    assert shares[0] != shares[1]
    assert messages(caplog)[0] == (
        f"neighbours: approximate search of 40 images, 2 of 5 lists each: finds {100 * shares[0]:.2f} % of the exact "
        "3 neighbours (of 40 images at random)"
    )


def test_a_recall_that_is_out_of_reach_is_said_in_plain_words(work, monkeypatch, caplog):
    monkeypatch.setattr("clusterlab.approximate.EQUAL", -1.0)  # as if no sample were near enough
    neighbours(work, search="approximate", num_lists=5, min_recall=0.9, scored=2)
    assert messages(caplog) == 2 * [
        "neighbours.min_recall=0.9 is not reached though every list was searched (0.0000): the embeddings lie so close "
        "together that half precision cannot tell them apart; use neighbours.search=exact"
    ]


def test_the_recall_survives_the_disk(work, tmp_path):
    for search, recall in (("exact", None), ("approximate", pytest.approx(0.5, abs=0.5))):
        _, found = neighbours(work, search=search)
        save(found, tmp_path / search, about={}, files={})
        artifact, _ = load(tmp_path / search)
        assert artifact.recall == found.recall == recall


@pytest.mark.parametrize("search", ["exact", "approximate"])
def test_a_large_pool_that_is_also_scored_is_searched_once(work, monkeypatch, search):
    everything = replace(work, images=replace(work.images, protocol="all"))
    _, twice = neighbours(everything, search=search)
    monkeypatch.setattr(module, "CHUNK_ROWS", 59)
    rows = []
    monkeypatch.setattr(module, "_rows", lambda values, pool: rows.append(len(pool)) or values[pool])
    _, once = neighbours(everything, search=search)
    assert rows == [60]
    assert torch.equal(once.train, twice.train)
    assert torch.equal(once.eval, twice.eval)


def test_the_rows_of_a_large_pool_are_copied_only_where_they_have_gaps(monkeypatch):
    values = directions()
    for pool in (torch.arange(10, 30), torch.tensor([3, 4, 6])):
        assert torch.equal(module._rows(values, pool), values[pool])
    monkeypatch.setattr(module, "CHUNK_ROWS", 2)
    view = module._rows(values, torch.arange(10, 30))
    assert (view.data_ptr(), view.shape) == (values[10:].data_ptr(), (20, 4))
    assert torch.equal(module._rows(values, torch.tensor([3, 4, 6])), values[[3, 4, 6]])


def test_only_what_the_result_depends_on_is_in_the_key():
    settings = NeighboursSettings(
        name="neighbours", num_neighbours=3, num_eval_neighbours=2, backend="torch", search="auto", exact_limit=9,
        num_lists=None, num_probes=1, min_recall=0.5,
    )  # fmt: skip
    assert settings.key_values() == settings.model_dump(exclude={"backend"})


def both_ways(work):
    exact, approximate = (neighbours(work, search=search)[1] for search in ("exact", "approximate"))
    return [values.numpy() for values in (exact.train, exact.eval, approximate.train, approximate.eval)]


def found_together(rank):
    images = SimpleNamespace(train_index=torch.arange(40), eval_index=torch.arange(40, 60))
    trainer = SimpleNamespace(device=torch.device("cpu"))
    return both_ways(SimpleNamespace(images=images, seed=0, title="stage", trainer=trainer))


def test_two_processes_find_together_what_one_finds(work):
    assert FindNeighbours.on_all_ranks
    alone = both_ways(work)
    for together in on_two_ranks(found_together):
        assert all((a == b).all() for a, b in zip(together, alone, strict=True))
