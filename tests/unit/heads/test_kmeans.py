import torch

from clusterlab.artifacts import Encoder
from clusterlab.heads.kmeans import KMeansHead, KMeansSettings
from clusterlab.kmeans import kmeans_centres, nearest_centre


def run(work):
    torch.manual_seed(1)
    encoder = Encoder(backbone=work.network.build().state_dict(), projection={})
    settings = KMeansSettings(name="kmeans", restarts=3, fit_limit=1, temperature=0.1)
    return KMeansHead(settings=settings, work=work, encoder=encoder).run()


def test_the_linear_head_gives_the_clusters_of_the_nearest_centre(work):
    found = run(work)
    features = found.embeddings.float()
    centres = found.network["heads.weight"][0].T * 0.1 / 2
    assert torch.equal(found.probs.argmax(dim=1), nearest_centre(features, centres))
    assert found.normalise


def test_every_row_of_probabilities_sums_to_one_and_all_clusters_are_used(work):
    probs = run(work).probs
    torch.testing.assert_close(probs.sum(dim=1), torch.ones(60))
    assert len(probs[:40].argmax(dim=1).unique()) == 10


def test_fewer_rows_than_clusters_give_as_many_centres_as_rows():
    assert kmeans_centres(torch.eye(3), clusters=5, restarts=1, purpose=(0,)).shape == (3, 3)


def test_centres_found_in_place_are_the_same_and_only_then_do_the_values_change_and_by_rounding_alone():
    values = torch.randn(200, 7, generator=torch.Generator().manual_seed(0))
    given, spent = values.clone(), values.clone()
    centres = kmeans_centres(given, clusters=5, restarts=3, purpose=(0,))
    assert torch.equal(kmeans_centres(spent, clusters=5, restarts=3, purpose=(0,), in_place=True), centres)
    assert torch.equal(given, values)
    torch.testing.assert_close(spent, values)
    assert not torch.equal(spent, values)
