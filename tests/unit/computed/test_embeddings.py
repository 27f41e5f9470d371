import pytest
import torch

from clusterlab.artifacts import Encoder
from clusterlab.computed.embeddings import EmbeddingsSettings, EmbedImages
from clusterlab.errors import UserError
from clusterlab.models.projection import Projection


@pytest.fixture
def encoder(work):
    torch.manual_seed(1)
    backbone = work.network.build()
    return Encoder(
        backbone=backbone.state_dict(),
        projection=Projection(inputs=backbone.feature_dim, outputs=5).state_dict(),
    )


@pytest.mark.parametrize(("layer", "size"), [("projection", 5), ("backbone", 16)])
def test_each_image_gets_a_unit_vector_of_its_own(work, encoder, layer, size):
    settings = EmbeddingsSettings(name="embeddings", layer=layer, float32_limit=1.0)
    values = EmbedImages(settings=settings, work=work, encoder=encoder).run().values
    assert values.shape == (60, size)
    torch.testing.assert_close(values.norm(dim=1), torch.ones(60))
    assert len(values.unique(dim=0)) == 60


def test_the_backbone_layer_is_the_normalised_feature_of_the_plain_image(work, encoder):
    values = EmbedImages(
        settings=EmbeddingsSettings(name="embeddings", layer="backbone", float32_limit=1.0), work=work, encoder=encoder
    ).run().values  # fmt: skip
    backbone = work.network.build().eval()
    backbone.load_state_dict(encoder.backbone)
    images = (torch.from_numpy(work.images.pixels[7:8]).float() / 255 - 0.3) / 0.3
    with torch.no_grad():
        expected = torch.nn.functional.normalize(backbone(images), dim=1)[0]
    torch.testing.assert_close(values[7], expected, atol=1e-5, rtol=1e-5)


def embed(work, encoder, layer, float32_limit=1.0):
    settings = EmbeddingsSettings(name="embeddings", layer=layer, float32_limit=float32_limit)
    return EmbedImages(settings=settings, work=work, encoder=encoder).run()


def test_features_stand_beside_the_embeddings_only_where_they_are_the_backbones(work, encoder):
    made = embed(work, encoder, "backbone")
    assert torch.equal(torch.nn.functional.normalize(made.features, dim=1), made.values)
    assert not torch.allclose(made.features.norm(dim=1), torch.ones(60))
    assert embed(work, encoder, "projection").features is None


@pytest.mark.parametrize(("layer", "size"), [("projection", 5), ("backbone", 16)])
def test_beyond_the_limit_they_are_kept_in_half_precision(work, encoder, layer, size):
    limit = 4 * 60 * size / 2**30
    whole, half = embed(work, encoder, layer, limit), embed(work, encoder, layer, 0.99 * limit)
    assert (whole.values.dtype, half.values.dtype) == (torch.float32, torch.float16)
    assert torch.equal(half.values, whole.values.half())
    if layer == "backbone":
        assert torch.equal(half.features, whole.features.half())


def test_features_that_half_precision_cannot_hold_are_refused(work, encoder):
    encoder.backbone["stem.1.weight"].fill_(1e7)
    with pytest.raises(UserError, match=r"embeddings.float32_limit=GIB"):
        embed(work, encoder, "backbone", 0.0)


def test_a_projection_that_the_features_do_not_have_is_one_line(work, encoder):
    with pytest.raises(UserError, match=r"use embeddings.layer=backbone"):
        embed(work, Encoder(backbone=encoder.backbone, projection={}), "projection")
