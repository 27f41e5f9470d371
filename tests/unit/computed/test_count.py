from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from clusterlab.artifacts import Embeddings, Instances
from clusterlab.computed.count import CountClusters, CountSettings
from clusterlab.errors import UserError


def settings(**changes):
    values = {"smallest": 2, "largest": 8, "max_images": 1000, "restarts": 2, "halves": 2}
    return CountSettings(name="count", **(values | changes))


def groups_apart(work, groups, *, noise=0.05):
    """Embeddings of the work's images that lie in so many groups at right angles."""
    number = torch.arange(len(work.images)) % groups
    around = noise * torch.randn(len(number), 8, generator=torch.Generator().manual_seed(0))
    return F.normalize(torch.eye(8)[number] + around, dim=1)


def count(work, values, **changes):
    return CountClusters(settings=settings(**changes), work=work, features=Embeddings(values=values)).run()


@pytest.mark.parametrize("groups", [2, 3, 5, 7])
def test_groups_that_lie_apart_are_counted(work, groups):
    found = count(work, groups_apart(work, groups))
    assert found.chosen == groups
    assert found.tried.tolist() == [2, 3, 4, 5, 6, 7, 8]
    place = found.tried == groups
    assert float(found.silhouette[place]) > 0.8
    assert float(found.stability[place]) > 0.9  # a half may miss a small group
    assert not torch.any(found.silhouette > found.silhouette[place])


def test_the_log_names_the_numbers_that_are_nearly_as_good(work, caplog):
    caplog.set_level("INFO")
    noise = F.normalize(torch.randn(60, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    found = count(work, noise)
    best = float(found.silhouette.max())
    near = [k for k, value in zip(found.tried.tolist(), found.silhouette.tolist(), strict=True) if value > best - 0.02]
    assert len(near) > 1
    assert sorted([*found.nearly_as_good(), found.chosen]) == near
    assert f"({best:.3f}), {', '.join(map(str, found.nearly_as_good()))} nearly as good; " in caplog.text


def test_noise_is_not_stable(work):
    noise = F.normalize(torch.randn(60, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    found = count(work, noise)
    assert float(found.stability.max()) < 0.7
    assert float(found.silhouette.max()) < 0.4


def test_only_images_that_may_be_trained_on_are_looked_at(work):
    values = groups_apart(work, 3)
    values[work.images.eval_index] = groups_apart(work, 7)[work.images.eval_index]
    assert count(work, values).chosen == 3


def test_an_instance_classifier_s_features_will_do(work):
    values = groups_apart(work, 4)
    nothing = torch.zeros(60, dtype=torch.int64)
    instances = Instances(
        network={}, predicted=nothing, confidence=nothing.float(), embeddings=values.half(),
        transitions=torch.zeros(5, 5, dtype=torch.int64), drawn=nothing[:5], drawn_classes=nothing[:5],
    )  # fmt: skip
    assert CountClusters(settings=settings(), work=work, features=instances).run().chosen == 4


def test_no_more_clusters_are_tried_than_half_of_the_images(work):
    found = count(work, groups_apart(work, 3), max_images=9)
    assert found.tried.tolist() == [2, 3, 4]


def test_too_few_images_are_one_line(work):
    with pytest.raises(UserError, match=r"40 images are too few .* use num_clusters=N"):
        count(work, groups_apart(work, 3), max_images=3)


def test_images_that_are_all_alike_have_no_structure(work):
    found = count(work, torch.eye(8)[torch.zeros(60, dtype=torch.int64)])
    assert found.silhouette.tolist() == [0.0] * 7


def test_another_seed_draws_other_images(work):
    noise = F.normalize(torch.randn(60, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    first, again, other = (count(replace(work, seed=seed), noise, max_images=20).silhouette for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("changes", [{"smallest": 1}, {"smallest": 9}])
def test_a_range_without_a_number_of_two_or_more_is_refused(changes):
    with pytest.raises(ValueError, match="2 ≤ smallest ≤ largest"):
        settings(**changes)
