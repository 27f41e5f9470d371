from dataclasses import replace

import pytest
import torch

from clusterlab.artifacts import Encoder
from clusterlab.computed.embeddings import EmbeddingsSettings, EmbedImages
from clusterlab.heads.kmeans import KMeansHead, KMeansSettings
from clusterlab.inference import network_of
from clusterlab.kmeans import kmeans_centres, nearest_centre
from clusterlab.models.projection import Projection

SETTINGS = KMeansSettings(name="kmeans", restarts=3, fit_limit=1, temperature=0.1)


def run(work):
    torch.manual_seed(1)
    encoder = Encoder(backbone=work.network.build().state_dict(), projection={})
    return KMeansHead(settings=SETTINGS, work=work, encoder=encoder).run()


def run_on_embeddings(work, layer):
    """The embeddings of an encoder, and their clusters."""
    torch.manual_seed(1)
    backbone = work.network.build()
    projection = Projection(inputs=backbone.feature_dim, outputs=6)
    encoder = Encoder(backbone=backbone.state_dict(), projection=projection.state_dict())
    settings = EmbeddingsSettings(name="embeddings", layer=layer, float32_limit=1)
    embeddings = EmbedImages(settings=settings, work=work, encoder=encoder).run()
    return embeddings, KMeansHead(settings=SETTINGS, work=work, encoder=encoder, embeddings=embeddings).run()


@pytest.mark.parametrize(("layer", "precision"), [("projection", "32-true"), ("backbone", "bf16-mixed")])
def test_the_clusters_are_those_of_the_embeddings_and_the_network_has_what_they_are_made_with(work, layer, precision):
    work = replace(work, trainer=work.trainer.model_copy(update={"precision": precision}))
    embeddings, found = run_on_embeddings(work, layer)
    centres = found.network["heads.weight"][0].T * 0.1 / 2
    assert torch.equal(found.probs.argmax(dim=1), nearest_centre(embeddings.values, centres))
    torch.testing.assert_close(found.embeddings.float(), embeddings.values, atol=1e-3, rtol=0)
    network = network_of(found, work)
    assert network.embedding_dim == embeddings.values.shape[1]
    assert (network.projection is None) == (layer == "backbone")


def test_in_bf16_the_network_with_a_projection_tells_the_same_centre_nearest(work):
    work = replace(work, trainer=work.trainer.model_copy(update={"precision": "bf16-mixed"}))
    _, found = run_on_embeddings(work, "projection")
    network = network_of(found, work)
    values = torch.nn.functional.normalize(torch.randn(500, 6), dim=1)
    centres = found.network["heads.weight"][0].T * 0.1 / 2
    network.projection = None
    with torch.autocast("cpu", torch.bfloat16):
        nearest = network.classify(values)[0].argmax(dim=1)
    assert torch.equal(nearest, nearest_centre(values, centres))


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
