import importlib.util

import pytest
import torch
from torch.nn import functional as F

from clusterlab import nearest
from clusterlab.errors import UserError
from clusterlab.nearest import finder, nearest_with_faiss, nearest_with_torch, rows_per_block, without_self

both = pytest.mark.parametrize("find", [nearest_with_torch, nearest_with_faiss])


def waves():
    i, j = torch.meshgrid(torch.arange(30.0).double(), torch.arange(6.0).double(), indexing="ij")
    return F.normalize(torch.sin(0.31 * i * (j + 1) + 0.7 * j**2) + 0.2 * torch.cos(1.3 * i), dim=1).float()


def random_directions(count):
    return F.normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(0)), dim=1)


@both
def test_neighbours_agree_with_the_reference(find):
    found = find(waves(), 5)
    with_self = torch.cat([torch.arange(30).unsqueeze(1), found], dim=1)
    assert with_self[[0, 1, 2, 3, 29]].tolist() == [
        [0, 20, 13, 24, 21, 12],
        [1, 22, 21, 2, 11, 23],
        [2, 22, 1, 23, 21, 9],
        [3, 23, 24, 4, 9, 10],
        [29, 9, 8, 28, 4, 2],
    ]
    assert int((with_self * torch.arange(1, 7)).sum()) == 9091


@both
@pytest.mark.parametrize(("count", "purity"), [(1, 0.433333), (5, 0.353333), (20, 0.318333)])
def test_the_share_of_neighbours_with_the_same_label_agrees_with_the_reference(find, count, purity):
    label = (7 * torch.arange(30) // 9) % 3
    same = label[find(waves(), count)] == label.unsqueeze(1)
    assert float(same.double().mean()) == pytest.approx(purity, abs=1e-6)


@both
def test_a_sample_with_twins_is_never_its_own_neighbour(find):
    values = F.normalize(torch.ones(4, 3), dim=1).repeat(3, 1)
    found = find(values, 5)
    assert not bool((found == torch.arange(12).unsqueeze(1)).any())
    assert all(len(set(row)) == 5 for row in found.tolist())


@both
def test_no_neighbours_at_all_may_be_asked_for(find):
    assert find(waves(), 0).shape == (30, 0)


def test_a_row_that_lacks_itself_loses_its_last_entry():
    found = torch.tensor([[3, 7, 5], [8, 4, 1]])
    assert without_self(found, 3).tolist() == [[7, 5], [8, 1]]
    assert without_self(torch.tensor([[9, 8, 7]]), 3).tolist() == [[9, 8]]


def test_faiss_and_torch_agree_over_several_blocks(monkeypatch):
    monkeypatch.setattr(nearest, "BLOCK_BYTES", 4 * 2500 * 700)
    assert rows_per_block(random_directions(2500)) == 700
    assert torch.equal(nearest_with_torch(random_directions(2500), 10), nearest_with_faiss(random_directions(2500), 10))


def test_blocks_of_a_single_query_find_the_same(monkeypatch):
    whole = nearest_with_torch(random_directions(50), 10)
    monkeypatch.setattr(nearest, "BLOCK_BYTES", 1)
    assert rows_per_block(random_directions(50)) == 1
    assert torch.equal(nearest_with_torch(random_directions(50), 10), whole)


@pytest.mark.parametrize("samples", [60_000, 100_000, 1_281_167])
def test_a_block_of_similarities_stays_below_its_share_of_memory_and_is_worth_its_while(samples):
    rows = rows_per_block(torch.empty(1, 512).expand(samples, 512))
    assert rows >= 16
    assert rows * samples * 4 <= 128 * 2**20


def test_the_backend_asked_for_is_taken_and_auto_prefers_faiss():
    assert finder("torch", "neighbours").func is nearest_with_torch
    assert finder("faiss", "neighbours").func is nearest_with_faiss
    assert finder("auto", "neighbours").func is nearest_with_faiss


def test_without_faiss_auto_takes_torch_and_asking_for_faiss_says_what_to_change(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert finder("auto", "reliable").func is nearest_with_torch
    with pytest.raises(UserError, match=r"^reliable\.backend=faiss, .* not installed: use reliable\.backend=torch$"):
        finder("faiss", "reliable")
