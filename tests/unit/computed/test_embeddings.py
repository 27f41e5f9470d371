import pytest
import torch

from clusterlab.artifacts import Encoder
from clusterlab.computed.embeddings import EmbeddingsSettings, EmbedImages
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
    settings = EmbeddingsSettings(name="embeddings", layer=layer)
    values = EmbedImages(settings=settings, work=work, encoder=encoder).run().values
    assert values.shape == (60, size)
    torch.testing.assert_close(values.norm(dim=1), torch.ones(60))
    assert len(values.unique(dim=0)) == 60


def test_the_backbone_layer_is_the_normalised_feature_of_the_plain_image(work, encoder):
    values = EmbedImages(
        settings=EmbeddingsSettings(name="embeddings", layer="backbone"), work=work, encoder=encoder
    ).run().values  # fmt: skip
    backbone = work.network.build().eval()
    backbone.load_state_dict(encoder.backbone)
    images = (torch.from_numpy(work.images.pixels[7:8]).float() / 255 - 0.3) / 0.3
    with torch.no_grad():
        expected = torch.nn.functional.normalize(backbone(images), dim=1)[0]
    torch.testing.assert_close(values[7], expected, atol=1e-5, rtol=1e-5)
