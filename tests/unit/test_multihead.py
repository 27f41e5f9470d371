import itertools
from dataclasses import replace

import pytest
import torch

from clusterlab import multihead
from clusterlab.artifacts import Embeddings, Encoder, Neighbours
from clusterlab.computed.embeddings import EmbeddingsSettings, EmbedImages
from clusterlab.heads.kmeans import KMeansHead, KMeansSettings
from clusterlab.heads.scan import Scan, ScanSettings
from clusterlab.heads.spice import RatioSettings, Spice, SpiceSettings
from clusterlab.models.backbones.small import Small
from clusterlab.models.optim import OptimiserSettings
from clusterlab.multihead import some_heads

OPTIMISER = OptimiserSettings(name="adam", lr=0.01, weight_decay=0, momentum=0, schedule="constant", final_lr_ratio=1)


@pytest.fixture
def encoder(work):
    torch.manual_seed(1)
    return Encoder(backbone=work.network.build().state_dict(), projection={})


@pytest.fixture
def embeddings(work, encoder):
    settings = EmbeddingsSettings(name="embeddings", layer="backbone", float32_limit=1.0)
    return EmbedImages(settings=settings, work=work, encoder=encoder).run()


@pytest.fixture
def images_seen(monkeypatch):
    """Counts the images that pass a backbone."""
    counted, forward = [], Small.forward

    def counting(self, images):
        counted.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(Small, "forward", counting)
    return counted


def scan(work, encoder, embeddings, **changes):
    values = {"update": "heads", "view": "strong", "num_heads": 3, "entropy_weight": 5.0} | changes
    settings = ScanSettings(name="scan", max_epochs=2, batch_size=8, optimiser=OPTIMISER, **values)
    train, scored = torch.arange(40), torch.arange(40, 60)
    neighbours = Neighbours(train=train.roll(1)[:, None], eval=scored.roll(1)[:, None])
    return Scan(settings=settings, work=work, encoder=encoder, neighbours=neighbours, embeddings=embeddings)


def spice(work, encoder, embeddings, **views):
    values = {"score_view": "weak", "train_view": "strong"} | views
    ratio = RatioSettings(start=1.0, end=1.0, first_epoch=0, up_epoch=None, down_epoch=None, last_epoch=0)
    settings = SpiceSettings(
        name="spice", max_epochs=2, batch_size=40, num_heads=3, hidden_dim=8, num_repeats=2, train_batch_size=8,
        view_batch_size=16, centre_ratio=0.5, ratio=ratio, overlap=True, double_softmax=True, freeze_bn=True,
        optimiser=OPTIMISER, **values,
    )  # fmt: skip
    return Spice(settings=settings, work=work, encoder=encoder, embeddings=embeddings)


def kmeans(work, encoder, embeddings):
    settings = KMeansSettings(name="kmeans", restarts=2, fit_limit=1, temperature=0.1)
    return KMeansHead(settings=settings, work=work, encoder=encoder, embeddings=embeddings)


def without_features(embeddings):
    return Embeddings(values=embeddings.values)


@pytest.mark.parametrize("head", [scan, spice, kmeans])
def test_features_of_the_embeddings_give_what_computing_them_again_gives(work, encoder, embeddings, head):
    once = head(work, encoder, embeddings).run()
    again = head(work, encoder, without_features(embeddings)).run()
    assert torch.equal(once.probs, again.probs)
    assert torch.equal(once.embeddings, again.embeddings)
    assert all(torch.equal(once.network[name], value) for name, value in again.network.items())


@pytest.mark.parametrize("head", [scan, kmeans, lambda *inputs: spice(*inputs, score_view="plain", train_view="plain")])
def test_heads_on_features_that_are_there_see_no_image(work, encoder, embeddings, images_seen, head):
    head(work, encoder, embeddings).run()
    assert images_seen == []
    head(work, encoder, without_features(embeddings)).run()
    assert sum(images_seen) >= 60


def test_spice_sees_the_views_that_are_not_plain_once_per_outer_iteration(work, encoder, embeddings, images_seen):
    spice(work, encoder, embeddings, score_view="plain").run()
    assert sum(images_seen) == 2 * 40  # two epochs of one outer iteration


def test_scan_on_other_features_than_the_embeddings_gives_other_clusters(work, encoder, embeddings):
    changed = Embeddings(values=embeddings.values, features=embeddings.features.flip(0))
    one, other = (scan(work, encoder, made).run() for made in (embeddings, changed))
    assert not torch.allclose(one.probs, other.probs)
    torch.testing.assert_close(other.embeddings, one.embeddings.flip(0))


def test_a_trained_backbone_does_not_use_them(work, encoder, embeddings, images_seen):
    stage = scan(work, encoder, embeddings, update="all")
    found = stage.run()
    assert stage.features is None
    assert sum(images_seen) > 2 * 40
    assert not torch.equal(found.network["backbone.stem.0.weight"], encoder.backbone["stem.0.weight"])


@pytest.mark.parametrize("part_bytes", [4, 1000])
@pytest.mark.parametrize("head", [scan, spice])
def test_many_images_are_judged_part_by_part_with_the_same_result(
    work, encoder, embeddings, monkeypatch, head, part_bytes
):
    whole = head(work, encoder, embeddings).run()
    monkeypatch.setattr(multihead, "PART_BYTES", part_bytes)
    parts = head(work, encoder, embeddings).run()
    torch.testing.assert_close(parts.probs, whole.probs)


@pytest.mark.parametrize(("head", "widest"), [(scan, 6), (spice, 8)])
def test_no_layer_of_the_heads_is_wider_than_the_memory_for_a_part(
    work, encoder, embeddings, monkeypatch, head, widest
):
    stage = head(replace(work, num_clusters=6), encoder, embeddings)
    stage.on_fit_start()
    classify, sizes = stage.network.classify, []
    monkeypatch.setattr(stage.network, "classify", lambda features: sizes.append(len(features)) or classify(features))
    monkeypatch.setattr(multihead, "PART_BYTES", 10 * 4 * 3 * widest)  # ten images, three heads
    stage.plain_logits(work.images.train_index)
    assert sizes == [10, 10, 10, 10]


def test_heads_are_split_only_where_their_logits_are_large(monkeypatch):
    logits = torch.rand(5, 4, 3)  # 48 bytes per head
    for size, groups in ((240, [5]), (239, [4, 1]), (96, [2, 2, 1]), (1, [1] * 5)):
        monkeypatch.setattr(multihead, "PART_BYTES", size)
        found = some_heads(logits)
        assert [len(some) for some in found] == groups
        assert torch.equal(torch.cat(found), logits)


def test_half_precision_beyond_the_memory_limit_trains_as_well(work, encoder, embeddings):
    half = Embeddings(values=embeddings.values.half(), features=embeddings.features.half())
    small = replace(work, data=work.data.model_copy(update={"memory_limit": 1e-9}))
    for head, limit in itertools.product((scan, spice, kmeans), (work, small)):
        found = head(limit, encoder, half).run()
        wanted = head(limit, encoder, Embeddings(values=half.values.float(), features=half.features.float())).run()
        torch.testing.assert_close(found.probs, wanted.probs)
        assert found.probs.dtype == torch.float32
