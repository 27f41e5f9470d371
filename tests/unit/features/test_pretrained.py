import logging
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from foreign_checkpoints import below, randomised, written
from torch.nn import functional as F

from clusterlab.artifacts import Encoder
from clusterlab.computed.embeddings import EmbeddingsSettings, EmbedImages
from clusterlab.errors import UserError
from clusterlab.features.pretrained import Pretrained, PretrainedSettings
from clusterlab.models.backbones.library import Library, LibrarySettings
from clusterlab.models.build import NetworkSpec


def part(checkpoint, model="timm/test_resnet"):
    return PretrainedSettings(
        name="pretrained", model=model, checkpoint=None if checkpoint is None else str(checkpoint)
    )


def seen_by(work, model="timm/test_resnet", **changes):
    """The work with a network of a library, for the grey digits of 8 × 8 pixels."""
    chosen = {"model": model, "input_size": None, "mean": None, "std": None, "view_size": 8} | changes
    settings = LibrarySettings(name="library", view_mean=work.data.mean, view_std=work.data.std, **chosen)
    return replace(work, network=NetworkSpec(Library, settings, 1))


@pytest.fixture
def network():
    return randomised(timm.create_model("test_resnet", num_classes=10))


@pytest.fixture
def checkpoint(network, tmp_path):
    return written(tmp_path / "weights.pth", {"state_dict": below("module.", network.state_dict())})


def test_the_encoder_holds_the_weights_of_the_file_and_no_projection(work, network, checkpoint):
    encoder = Pretrained(settings=part(checkpoint), work=seen_by(work)).run()
    assert isinstance(encoder, Encoder)
    assert encoder.projection == {}
    whole = network.state_dict()
    own = {name.removeprefix("network."): value for name, value in encoder.backbone.items()}
    assert whole.keys() - own.keys() == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, whole[name]) for name, value in own.items())


def test_embeddings_are_what_the_library_makes_of_the_images(work, network, checkpoint):
    work = seen_by(work)
    encoder = Pretrained(settings=part(checkpoint), work=work).run()
    settings = EmbeddingsSettings(name="embeddings", layer="backbone", float32_limit=1.0)
    made = EmbedImages(settings=settings, work=work, encoder=encoder).run()
    usual = timm.get_pretrained_cfg("test_resnet")
    pixels = torch.from_numpy(work.images.pixels).float().expand(-1, 3, -1, -1) / 255
    column = [torch.tensor(values).view(3, 1, 1) for values in (usual.mean, usual.std)]
    with torch.no_grad():
        wanted = network.forward_head(network.forward_features((pixels - column[0]) / column[1]), pre_logits=True)
    torch.testing.assert_close(made.features, wanted, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(made.values, F.normalize(wanted, dim=1), atol=1e-4, rtol=1e-4)


def test_the_key_follows_the_weights_and_not_where_they_lie(network, checkpoint, tmp_path):
    content = {"state_dict": below("module.", network.state_dict())}
    moved = written(tmp_path / "elsewhere" / "weights.pth", content)
    before = part(checkpoint).key_values()
    assert part(moved).key_values() == before
    content["state_dict"]["module.conv1.0.weight"] += 1
    written(checkpoint, content)
    assert part(checkpoint).key_values() != before
    assert part(None).key_values()["weights"] == "test_resnet.r160_in1k"


def check(model, checkpoint=None):
    Pretrained.check(part(checkpoint, model), has_own_network=False)


def test_mistakes_are_found_before_anything_runs(checkpoint, tmp_path):
    check("timm/test_resnet", checkpoint)
    with pytest.raises(UserError, match="did you mean test_resnet"):
        check("timm/test_resnt")
    with pytest.raises(UserError, match="does not exist"):
        check("timm/test_resnet", tmp_path / "nothing")
    with pytest.raises(UserError, match=r"add features.model=NAME"):
        check(None)
    (tmp_path / "config.json").write_text('{"architecture": "test_vit"}')
    with pytest.raises(UserError, match=r"says test_vit: add features.model=timm/test_vit"):
        check(None, tmp_path)


def test_another_backbone_is_refused(work, checkpoint):
    with pytest.raises(UserError, match="backbone=small: add backbone=library"):
        Pretrained(settings=part(checkpoint), work=work).run()
    with pytest.raises(UserError, match=r"backbone.model=timm/test_vit and features.model=timm/test_resnet differ"):
        Pretrained(settings=part(checkpoint), work=seen_by(work, "timm/test_vit")).run()


def test_images_of_a_size_that_the_network_does_not_take_get_one_that_it_takes(work):
    with pytest.raises(UserError) as caught:
        Pretrained(settings=part(None, "timm/test_vit"), work=seen_by(work, "timm/test_vit")).run()
    message = str(caught.value)
    assert "does not take images of 8 pixels" in message
    assert "add data.image_size=160 data.views.size=160, or backbone.input_size=160" in message


def test_a_larger_input_size_makes_small_images_fit(work, tmp_path):
    network = randomised(timm.create_model("test_vit", num_classes=0))
    path = written(tmp_path / "vit.safetensors", network.state_dict())
    resized = seen_by(work, "timm/test_vit", input_size=32)
    encoder = Pretrained(settings=part(path, "timm/test_vit"), work=resized).run()
    assert torch.equal(encoder.backbone["network.pos_embed"], network.state_dict()["pos_embed"])


def test_much_smaller_images_than_it_was_trained_with_are_worth_a_word(work, checkpoint, caplog):
    with caplog.at_level(logging.WARNING):
        Pretrained(settings=part(checkpoint), work=seen_by(work)).run()
    assert "was trained on images of 160 pixels and gets 8" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        Pretrained(settings=part(checkpoint), work=seen_by(work, input_size=96)).run()
    assert caplog.text == ""


def test_colour_images_pass_as_they_are(work, checkpoint):
    work = seen_by(work)
    colour = replace(work.images, pixels=np.repeat(work.images.pixels, 3, axis=1))
    data = work.data.model_copy(update={"mean": work.data.mean * 3, "std": work.data.std * 3})
    work = replace(work, images=colour, data=data, network=replace(work.network, channels=3))
    assert len(Pretrained(settings=part(checkpoint), work=work).run().backbone) > 0
