import numpy as np
import torch

from clusterlab.artifacts import Neighbours
from clusterlab.output.agreement import mutual_nearest, neighbour_agreement


def neighbours(train: list[list[int]], scored: list[list[int]]) -> Neighbours:
    return Neighbours(train=torch.tensor(train), eval=torch.tensor(scored))


def test_agreement_is_the_share_of_neighbours_in_the_same_cluster(make_run):
    images = make_run(8, num_clusters=2).images  # 3 and 7 are test images
    found = neighbours([[1, 2], [0, 2], [4, 5], [2, 6], [6, 0], [5, 4]], [[7], [3]])
    clusters = np.array([0, 0, 1, 0, 1, 0, 0, 1])
    shares = neighbour_agreement(images, found, clusters)
    #                     0: 1, not 2   1: 0, not 2   2: 4, not 5   3: not 7   4: 2, not 6   5: 6, 0   6: 5, not 4
    assert shares.tolist() == [0.5, 0.5, 0.5, 0.0, 0.5, 1.0, 0.5, 0.0]


def test_images_without_neighbours_have_no_agreement(make_run):
    from dataclasses import replace

    images = make_run(8, num_clusters=2).images
    images = replace(images, splits=("unlabeled", *images.splits[1:]))
    found = neighbours([[2], [1], [5], [4], [5]], [[7], [3]])
    shares = neighbour_agreement(images, found, np.zeros(8, np.int64))
    assert np.isnan(shares[0])
    assert (shares[1:] == 1).all()


def test_pairs_are_those_that_choose_each_other(make_run):
    images = make_run(8, num_clusters=2).images
    found = neighbours([[1, 2], [0, 2], [4, 5], [2, 6], [6, 0], [4, 5]], [[7], [3]])
    # 0 and 1, 2 and 4, 3 and 7; 5 chooses 6, which chooses 4.
    assert mutual_nearest(images, found).tolist() == [[0, 1], [2, 4], [3, 7]]
