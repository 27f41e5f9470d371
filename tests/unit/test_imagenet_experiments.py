"""SCAN's presets for ImageNet have the numbers of its authors' code."""

import pytest
from experiments import compose_experiment, part

ROWS = {"scan_imagenet50": (50, 512), "scan_imagenet100": (100, 1024), "scan_imagenet200": (200, 1024),
        "scan_imagenet1000": (1000, 1024)}  # fmt: skip


@pytest.fixture(scope="module", params=ROWS)
def row(request, tmp_path_factory):
    return compose_experiment(request.param, tmp_path_factory.mktemp("root")), *ROWS[request.param]


def test_features_are_those_of_moco_and_neighbours_are_sought_among_them(row):
    config, clusters, _ = row
    assert config.num_clusters == clusters
    assert (config.data.image_size, config.data.views.size, config.data.protocol) == (256, 224, "split")
    assert (part(config, "features").name, part(config, "features").model) == ("pretrained", "moco_v2_resnet50")
    assert {plan.backbone.settings.model for plan in config.stages} == {"moco_v2_resnet50"}
    assert part(config, "embeddings").layer == "backbone"
    neighbours = part(config, "neighbours")
    assert (neighbours.num_neighbours, neighbours.num_eval_neighbours) == (50, 5)


def test_ten_heads_are_trained_on_the_frozen_features(row):
    config, _, batch = row
    head = part(config, "head")
    assert (head.name, head.max_epochs, head.batch_size, head.num_heads) == ("scan", 100, batch, 10)
    assert (head.update, head.entropy_weight) == ("heads", 5.0)
    optimiser = head.optimiser
    assert (optimiser.name, optimiser.lr, optimiser.momentum, optimiser.weight_decay) == ("sgd", 5.0, 0.9, 0)
    assert optimiser.schedule == "constant"


def test_self_labelling_follows_but_on_the_thousand_classes(row):
    config, clusters, _ = row
    sections = [plan.section for plan in config.stages]
    assert ("student" in sections) == (clusters < 1000)
    if clusters < 1000:
        student = part(config, "student")
        assert (student.max_epochs, student.batch_size, student.threshold) == (25, 512, 0.99)
        assert (student.balanced, student.ema_decay) == (False, 0.999)
        optimiser = student.optimiser
        assert (optimiser.name, optimiser.lr, optimiser.momentum, optimiser.weight_decay) == ("sgd", 0.03, 0.9, 0)
        assert config.data.views.strong.cutout_length == 75
