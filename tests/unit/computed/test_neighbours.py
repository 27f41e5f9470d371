import pytest
import torch
from torch.nn import functional as F

from clusterlab.computed.neighbours import nearest_with_faiss, nearest_with_torch, without_self


def waves():
    i, j = torch.meshgrid(torch.arange(30.0).double(), torch.arange(6.0).double(), indexing="ij")
    return F.normalize(torch.sin(0.31 * i * (j + 1) + 0.7 * j**2) + 0.2 * torch.cos(1.3 * i), dim=1).float()


@pytest.mark.parametrize("find", [nearest_with_torch, nearest_with_faiss])
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


@pytest.mark.parametrize("find", [nearest_with_torch, nearest_with_faiss])
@pytest.mark.parametrize(("count", "purity"), [(1, 0.433333), (5, 0.353333), (20, 0.318333)])
def test_the_share_of_neighbours_with_the_same_label_agrees_with_the_reference(find, count, purity):
    label = (7 * torch.arange(30) // 9) % 3
    same = label[find(waves(), count)] == label.unsqueeze(1)
    assert float(same.double().mean()) == pytest.approx(purity, abs=1e-6)


@pytest.mark.parametrize("find", [nearest_with_torch, nearest_with_faiss])
def test_a_sample_with_twins_is_never_its_own_neighbour(find):
    values = F.normalize(torch.ones(4, 3), dim=1).repeat(3, 1)
    found = find(values, 5)
    assert not bool((found == torch.arange(12).unsqueeze(1)).any())
    assert all(len(set(row)) == 5 for row in found.tolist())


def test_a_row_that_lacks_itself_loses_its_last_entry():
    found = torch.tensor([[3, 7, 5], [8, 4, 1]])
    assert without_self(found, 3).tolist() == [[7, 5], [8, 1]]
    assert without_self(torch.tensor([[9, 8, 7]]), 3).tolist() == [[9, 8]]


def test_faiss_and_torch_agree_over_several_blocks():
    values = F.normalize(torch.randn(2500, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    assert torch.equal(nearest_with_torch(values, 10), nearest_with_faiss(values, 10))
