import torch

from clusterlab.artifacts import Assignments
from clusterlab.computed.map import DrawMap, MapSettings


def draw(work, max_images, *, spread=1.0):
    size = len(work.images)
    groups = torch.arange(size) % 3
    noise = torch.randn(size, 8, generator=torch.Generator().manual_seed(0))
    embeddings = (spread * (torch.eye(8)[groups] * 20 + noise)).half()
    assignments = Assignments(
        probs=torch.ones(size, 2) / 2, embeddings=embeddings, network={}, hidden=None, normalise=False
    )
    settings = MapSettings(name="map", max_images=max_images, perplexity=5.0)
    return groups, DrawMap(settings=settings, work=work, assignments=assignments).run().points


def test_scored_images_get_a_place_near_their_own_kind(work):
    groups, points = draw(work, 1000)
    drawn = points.isfinite().all(dim=1)
    assert drawn.tolist() == [False] * 40 + [True] * 20
    distance = torch.cdist(points[drawn], points[drawn]).fill_diagonal_(float("inf"))
    assert torch.equal(groups[drawn][distance.argmin(dim=1)], groups[drawn])


def test_no_more_images_are_drawn_than_wanted(work):
    assert int(draw(work, 12)[1].isfinite().all(dim=1).sum()) == 12


def test_a_handful_of_images_gets_no_map(work):
    assert not bool(draw(work, 3)[1].isfinite().any())


def test_images_that_the_network_sees_all_alike_get_no_map(work):
    assert not bool(draw(work, 1000, spread=0.0)[1].isfinite().any())
