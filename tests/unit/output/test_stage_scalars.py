from dataclasses import replace

import numpy as np
import pytest
import torch

from clusterlab.artifacts import Neighbours, PseudoLabels
from clusterlab.data.images import Labels
from clusterlab.output import stage_scalars as module
from clusterlab.output.stage_scalars import neighbour_purity, self_consistency, stage_scalars


def test_neighbour_purity_counts_known_pairs_of_the_train_pool(make_run):
    images = make_run(8, num_clusters=2).images  # 3 and 7 are test images
    labels = Labels(np.array([0, 0, 1, 1, -1, 0, 1, 9]), tuple("0123456789"))
    #                anchor 0      1       2       4       5       6
    train = torch.tensor([[1, 2], [0, 5], [6, 4], [0, 1], [6, 2], [2, 2]])
    purity = neighbour_purity(Neighbours(train=train, eval=train), images, labels)
    # Same: 0-1, 1-0, 1-5, 2-6, 6-2 twice. Other: 0-2, 5-6, 5-2. Unknown: 2-4, 4-0, 4-1.
    assert purity == pytest.approx(6 / 9)


def rings(pool, size, apart):
    """Each image's neighbours: the next in its group of `size`, of which every `apart`-th image of the pool is one."""
    place = torch.arange(len(pool))
    group, at = place % apart, place // apart
    return pool[torch.stack([(at + step) % size * apart + group for step in range(1, size)], dim=1)]


def test_closed_groups_are_fully_consistent_wherever_their_images_stand_in_the_pool():
    pool = torch.arange(5, 205, 5)  # 40 images among many others
    assert self_consistency(rings(pool, size=4, apart=10), pool) == 1.0


def test_neighbours_without_any_structure_are_consistent_by_chance_only():
    pool, draw = torch.arange(2000), torch.Generator().manual_seed(0)
    neighbours = torch.stack([torch.randperm(2000, generator=draw)[:10] for _ in pool])
    assert self_consistency(neighbours, pool) == pytest.approx(10 / 2000, abs=0.002)


def nearest(values, count):
    similarity = torch.nn.functional.normalize(values, dim=1)
    return (similarity @ similarity.T).fill_diagonal_(-2).topk(count).indices


@pytest.mark.parametrize(("dimensions", "documented"), [(64, 0.11), (3, 0.59)])
def test_noise_is_as_consistent_as_docs_dashboards_says(dimensions, documented):
    noise = torch.randn(1000, dimensions, generator=torch.Generator().manual_seed(0))
    assert self_consistency(nearest(noise, 20), torch.arange(1000)) == pytest.approx(documented, abs=0.015)


def test_self_consistency_is_the_share_counted_one_by_one():
    pool, draw = torch.arange(0, 120, 3), torch.Generator().manual_seed(1)
    others = [torch.cat([pool[:i], pool[i + 1 :]]) for i in range(len(pool))]
    neighbours = torch.stack([some[torch.randperm(39, generator=draw)[:7]] for some in others])
    of = {int(image): set(row.tolist()) for image, row in zip(pool, neighbours, strict=True)}
    counted = [second in of[image] | {image} for image in of for first in of[image] for second in of[first]]
    assert len(counted) == 40 * 7 * 7
    assert self_consistency(neighbours, pool) == pytest.approx(sum(counted) / len(counted))


def test_of_very_many_images_some_at_even_distances_stand_for_all(monkeypatch):
    pool = torch.arange(400)
    closed = rings(pool, size=4, apart=100)
    open_from_300 = closed.clone()
    open_from_300[300:] = closed[300:].roll(1, dims=0)  # the last of each group knows another group's images
    monkeypatch.setattr(module, "MOST_JUDGED", 40)
    some = self_consistency(open_from_300, pool)
    monkeypatch.undo()
    assert some == pytest.approx(self_consistency(open_from_300, pool), abs=0.05)
    assert 0.2 < some < 0.9


def test_labels_add_a_purity_to_what_neighbours_tell_and_change_nothing_else(make_run):
    run = make_run()
    told = stage_scalars(run.neighbours, run.images)
    assert told.keys() == {"purity", "self_consistency"}
    assert told["purity"] > 0.6
    for sealed in (None, replace(run.images.sealed_labels, values=np.full(240, -1))):
        bare = stage_scalars(run.neighbours, replace(run.images, sealed_labels=sealed))
        assert bare == {"self_consistency": told["self_consistency"]}


def test_the_share_of_reliable_labels_is_that_of_the_train_pool(make_run):
    images = make_run().images
    labels = torch.full((240,), -1)
    labels[images.train_index[:45]] = 3
    assert stage_scalars(PseudoLabels(labels, num_clusters=10), images) == {"share": 45 / 180}


def test_what_training_has_told_of_is_not_told_again(make_run):
    run = make_run()
    assert stage_scalars(run.assignments, run.images) == {}
