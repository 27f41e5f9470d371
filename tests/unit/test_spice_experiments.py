"""SPICE's presets have the numbers of the rows of its table that they name."""

import pytest
from experiments import compose_experiment, part

ROWS = {
    # data, protocol, clusters, backbone, stem, side, queue, epochs of features, of the head, M,
    # cutout, agreement, student's network
    "spice_cifar10": ("cifar10", "split", 10, "resnet18", "cifar", 32, 12_800, 1000, 30, 5000, 16, 0.99, None),
    "spice_stl10": ("stl10", "all", 10, "resnet34", "stl", 96, 65_536, 1000, 100, 5000, 32, 0.9, (2, (2, 2, 2, 2))),
    "spice_cifar100_20": (
        "cifar100_20", "all", 20, "resnet34", "stl", 32, 12_800, 1000, 100, 10_000, 16, 0.99, (8, (1, 2, 2)),
    ),
    "spice_imagenet10": ("imagenet10", "all", 10, "resnet34", "imagenet", 224, None, 5000, 100, 5000, 32, 0.9, None),
    "spice_imagenet_dogs": (
        "imagenet_dogs", "all", 15, "resnet34", "imagenet", 224, None, 3000, 100, 8000, 32, 0.9, None
    ),
    "spice_tiny_imagenet": ("tiny_imagenet", "all", 200, "resnet34", "stl", 64, None, 1000, 100, 20_000, 21, 0.9, None),
}  # fmt: skip


@pytest.fixture(scope="module", params=ROWS)
def row(request, tmp_path_factory):
    config = compose_experiment(request.param, tmp_path_factory.mktemp("root"))
    return config, ROWS[request.param]


def test_data_and_networks(row):
    config, (data, protocol, clusters, backbone, stem, side, *_, student) = row
    assert (config.method.name, config.data.name, config.data.protocol) == ("spice", data, protocol)
    assert config.num_clusters == clusters
    assert (config.data.image_size, config.data.views.size) == (side, side)
    plans = {plan.section: plan for plan in config.stages}
    for section in ("features", "head"):
        settings = plans[section].backbone.settings
        assert (settings.name, settings.stem) == (backbone, stem)
    own = plans["student"].backbone.settings
    assert (own.name, None) == (backbone, student) or ("wrn", (own.width, own.strides)) == (own.name, student)


def test_features(row):
    config, (*_, queue, epochs, _, _, _, _, _) = row
    moco = part(config, "features")
    assert (moco.name, moco.max_epochs, moco.batch_size, moco.batch_norm_groups) == ("moco", epochs, 128, 4)
    assert (moco.queue_size, moco.temperature, moco.momentum, moco.projection_dim) == (queue, 0.2, 0.999, 128)
    assert (moco.blur_probability, moco.blur_sigma) == (0.5, (0.1, 2.0))
    optimiser = moco.optimiser
    assert (optimiser.name, optimiser.lr, optimiser.momentum, optimiser.weight_decay) == ("sgd", 0.015, 0.9, 1e-4)
    assert (optimiser.schedule, optimiser.final_lr_ratio) == ("cosine", 0)
    assert part(config, "embeddings").layer == "backbone"
    contrastive = config.data.views.contrastive
    assert (contrastive.crop_scale, contrastive.jitter) == ((0.2, 1.0), (0.4, 0.4, 0.4, 0.1))
    assert (contrastive.jitter_probability, contrastive.grayscale_probability) == (0.8, 0.2)


def test_head(row):
    config, (*_, epochs, images, cutout, _, _) = row
    head = part(config, "head")
    assert (head.name, head.max_epochs, head.batch_size) == ("spice", epochs, images)
    assert (head.num_heads, head.hidden_dim, head.num_repeats, head.train_batch_size) == (10, 512, 8, 128)
    assert (head.centre_ratio, head.ratio.start, head.ratio.end) == (0.5, 1.0, 1.0)
    assert (head.overlap, head.double_softmax, head.freeze_bn) == (True, True, True)
    assert (head.score_view, head.train_view) == ("weak", "strong")
    assert (head.optimiser.name, head.optimiser.lr, head.optimiser.weight_decay) == ("adam", 0.005, 0)
    assert config.data.views.strong.num_operations == 4
    assert config.data.views.strong.cutout_length == cutout


def test_reliable_labels_and_student(row):
    config, (*_, agreement, _) = row
    reliable = part(config, "reliable")
    assert (reliable.num_neighbours, reliable.min_confidence, reliable.min_agreement) == (100, 0.99, agreement)
    assert (reliable.balanced, reliable.relax) == (True, False)
    student = part(config, "student")
    assert (student.name, student.init, student.max_epochs * student.steps_per_epoch) == ("fixmatch", "random", 2**20)
    assert (student.batch_size, student.unlabelled_ratio, student.threshold, student.ema_decay) == (64, 7, 0.95, 0.999)
    assert (student.target, student.unlabelled_weight, student.strong_view) == ("hard", 1.0, "randaugment")
    optimiser = student.optimiser
    assert (optimiser.name, optimiser.lr, optimiser.momentum) == ("nesterov", 0.03, 0.9)
    assert (optimiser.weight_decay, optimiser.schedule) == (5e-4, "cosine_7_16")
    weak, strong = config.data.views.weak, config.data.views.randaugment
    assert (weak.flip_probability, weak.padding) == (0.5, 4)
    assert (strong.num_operations, strong.cutout_share) == (3, 0.5)
    assert set(strong.ranges.values()) == {(-0.3, 0.3)}
