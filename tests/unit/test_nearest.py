import importlib.util

import pytest
import torch
from torch.nn import functional as F
from two_ranks import on_two_ranks

from clusterlab import nearest
from clusterlab.errors import UserError
from clusterlab.nearest import Nearest, finder, nearest_with_faiss, nearest_with_torch, rows_per_block, without_self

both = pytest.mark.parametrize("find", [nearest_with_torch, nearest_with_faiss])


def waves():
    i, j = torch.meshgrid(torch.arange(30.0).double(), torch.arange(6.0).double(), indexing="ij")
    return F.normalize(torch.sin(0.31 * i * (j + 1) + 0.7 * j**2) + 0.2 * torch.cos(1.3 * i), dim=1).float()


def random_directions(count):
    return F.normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(0)), dim=1)


def by_the_whole_matrix(values, count):
    return (values @ values.T).fill_diagonal_(-2).topk(count, dim=1).indices


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
@pytest.mark.parametrize("chunk", [5, 100])
def test_a_sample_with_twins_is_never_its_own_neighbour(find, chunk, monkeypatch):
    monkeypatch.setattr(nearest, "CHUNK_ROWS", chunk)
    values = F.normalize(torch.ones(4, 3), dim=1).repeat(3, 1)
    found = find(values, 5)
    assert not bool((found == torch.arange(12).unsqueeze(1)).any())
    assert all(len(set(row)) == 5 for row in found.tolist())


@both
def test_no_neighbours_at_all_may_be_asked_for(find):
    assert find(waves(), 0).shape == (30, 0)


def test_the_query_itself_is_dropped_or_else_the_last_one():
    found = Nearest(torch.tensor([[0.9, 0.8, 0.7], [0.9, 0.9, 0.1]]), torch.tensor([[3, 7, 5], [8, 4, 1]]))
    assert without_self(found, torch.tensor([3, 4]), 2).position.tolist() == [[7, 5], [8, 1]]
    assert without_self(found, torch.tensor([2, 9]), 2).position.tolist() == [[3, 7], [8, 4]]


def test_among_too_few_samples_the_query_itself_comes_last_and_never_wins():
    found = without_self(Nearest(torch.tensor([[0.9, -0.8]]), torch.tensor([[1, 0]])), torch.tensor([1]), 2)
    assert found.position.tolist() == [[0, 1]]
    assert found.similarity.tolist() == [[pytest.approx(-0.8), float("-inf")]]


def test_faiss_and_torch_agree_over_several_blocks(monkeypatch):
    monkeypatch.setattr(nearest, "BLOCK_BYTES", 4 * 2500 * 700)
    assert rows_per_block(2500) == 700
    assert torch.equal(nearest_with_torch(random_directions(2500), 10), nearest_with_faiss(random_directions(2500), 10))


def test_blocks_of_a_single_query_find_the_same(monkeypatch):
    whole = nearest_with_torch(random_directions(50), 10)
    monkeypatch.setattr(nearest, "BLOCK_BYTES", 1)
    assert rows_per_block(50) == 1
    assert torch.equal(nearest_with_torch(random_directions(50), 10), whole)


@both
@pytest.mark.parametrize("chunk", [7, 64, 499, 500])
def test_the_best_of_several_chunks_are_the_best_of_all(find, chunk, monkeypatch):
    values = random_directions(500)
    monkeypatch.setattr(nearest, "CHUNK_ROWS", chunk)
    monkeypatch.setattr(nearest, "FAISS_ROWS", 300)
    # 7 samples are fewer than the neighbours wanted, 499 leave a last chunk of one.
    assert torch.equal(find(values, 10), by_the_whole_matrix(values, 10))


@both
def test_half_precision_samples_become_floats_a_chunk_at_a_time(find, monkeypatch):
    monkeypatch.setattr(nearest, "CHUNK_ROWS", 64)
    values = random_directions(300).half()
    assert torch.equal(find(values, 10), by_the_whole_matrix(values.float(), 10))


@both
def test_samples_may_be_mapped_from_a_file(find, tmp_path):
    values = random_directions(300)
    path = tmp_path / "values"
    path.write_bytes(values.half().numpy().tobytes())
    mapped = torch.from_file(str(path), shared=True, size=300 * 16, dtype=torch.float16).view(300, 16)
    assert torch.equal(find(mapped, 10), by_the_whole_matrix(values.half().float(), 10))


@pytest.mark.parametrize("samples", [60_000, 100_000, 1_281_167])
def test_a_block_of_similarities_stays_below_its_share_of_memory_and_is_worth_its_while(samples):
    rows = rows_per_block(samples)
    assert rows >= 512
    assert rows * min(samples, nearest.CHUNK_ROWS) * 4 <= 128 * 2**20


def indices(block):
    return torch.arange(block.start, block.stop)[:, None]


def in_one_of_two_processes(rank):
    """What this process finds with the other, and which blocks it searches where they share them and alone."""
    nearest.FAISS_ROWS = 128
    nearest.BLOCK_BYTES = 4 * 1000 * 128
    found = [finder(way, "neighbours", shared=True)(random_directions(1000), 10).numpy() for way in ("faiss", "torch")]
    searched = {}
    for rows, shared in ((4, True), (4, False), (16, True)):
        blocks = searched[rows, shared] = []
        where = nearest.Where("neighbours", shared=shared)
        every = nearest.by_blocks(
            10, rows, lambda block, to=blocks: to.append(block) or indices(block), where, width=1, dtype=torch.int64
        )
        assert every[:, 0].tolist() == list(range(10))
    return found, searched


@pytest.fixture(scope="module")
def two_processes():
    return on_two_ranks(in_one_of_two_processes)


def test_two_processes_find_together_what_one_finds(two_processes, monkeypatch):
    monkeypatch.setattr(nearest, "FAISS_ROWS", 128)
    monkeypatch.setattr(nearest, "BLOCK_BYTES", 4 * 1000 * 128)
    alone = [find(random_directions(1000), 10) for find in (nearest_with_faiss, nearest_with_torch)]
    for together, _ in two_processes:
        assert all(torch.equal(torch.from_numpy(a), b) for a, b in zip(together, alone, strict=True))


def test_each_process_searches_its_share_of_the_blocks_or_alone_all_of_them(two_processes):
    every = [slice(0, 4), slice(4, 8), slice(8, 10)]
    (_, first), (_, second) = two_processes
    assert (first[4, True], second[4, True]) == (every[:2], every[2:])
    assert first[4, False] == second[4, False] == every


def test_more_processes_than_blocks_leave_some_without_any(two_processes):
    (_, first), (_, second) = two_processes
    assert (first[16, True], second[16, True]) == ([slice(0, 10)], [])


def test_the_backend_asked_for_is_taken_and_auto_prefers_faiss():
    assert finder("torch", "neighbours").func is nearest_with_torch
    assert finder("faiss", "neighbours").func is nearest_with_faiss
    assert finder("auto", "neighbours").func is nearest_with_faiss


def test_without_faiss_auto_takes_torch_and_asking_for_faiss_says_what_to_change(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert finder("auto", "reliable").func is nearest_with_torch
    with pytest.raises(UserError, match=r"^reliable\.backend=faiss, .* not installed: use reliable\.backend=torch$"):
        finder("faiss", "reliable")
