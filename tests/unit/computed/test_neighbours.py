from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from clusterlab.artifacts import Embeddings
from clusterlab.computed.neighbours import FindNeighbours, NeighboursSettings
from clusterlab.errors import UserError


def neighbours(work, *, train=3, scored=2, backend="torch"):
    values = F.normalize(torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    settings = NeighboursSettings(
        name="neighbours", num_neighbours=train, num_eval_neighbours=scored, backend=backend
    )  # fmt: skip
    return values, FindNeighbours(settings=settings, work=work, embeddings=Embeddings(values=values)).run()


@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_neighbours_are_the_nearest_others_of_the_same_pool_by_sample_index(work, backend):
    values, found = neighbours(work, backend=backend)
    similarity = (values @ values.T).fill_diagonal_(-2)
    assert torch.equal(found.train, similarity[:40, :40].topk(3).indices)
    assert torch.equal(found.eval, 40 + similarity[40:, 40:].topk(2).indices)


def test_more_neighbours_than_other_images_are_reduced_with_a_warning(work, caplog):
    _, found = neighbours(work, train=50, scored=19)
    assert (found.train.shape, found.eval.shape) == ((40, 39), (20, 19))
    assert [record.getMessage() for record in caplog.records] == [
        "neighbours.num_neighbours=50, but each of 40 images has only 39 others: using 39"
    ]


def test_a_single_image_has_no_neighbours_and_that_is_said(work):
    one = replace(work, images=replace(work.images, splits=("train",) * 59 + ("test",)))
    with pytest.raises(UserError, match="1 image is too few to find neighbours"):
        neighbours(one)
