"""The shipped experiments have the numbers of the rows of the papers' tables that they name."""

from functools import partial

import pytest
from experiments import CONF, compose_experiment, part

from clusterlab.pipeline import check_order

SCAN = ("scan_cifar10", "scan_cifar100_20", "scan_stl10")


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return partial(compose_experiment, root=tmp_path_factory.mktemp("root"))


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "experiment").glob("*.yaml")))
def test_every_experiment_is_a_pipeline_whose_stages_find_their_inputs(experiment, name):
    check_order(experiment(name))


@pytest.mark.parametrize(
    ("name", "data", "num_clusters", "stem"),
    [
        ("scan_cifar10", "cifar10", 10, "cifar"),
        ("scan_cifar100_20", "cifar100_20", 20, "cifar"),
        ("scan_stl10", "stl10", 10, "stl"),
    ],
)
def test_scan_clusters_its_data_with_a_resnet18_of_the_right_stem(experiment, name, data, num_clusters, stem):
    config = experiment(name)
    assert (config.data.name, config.data.protocol, config.num_clusters) == (data, "split", num_clusters)
    backbones = {plan.backbone.settings for plan in config.stages}
    assert [(backbone.name, backbone.stem) for backbone in backbones] == [("resnet18", stem)]
    assert config.method.name == "scan"


@pytest.mark.parametrize("name", SCAN)
def test_scan_pretrains_with_simclr_alike_on_all_data(experiment, name):
    settings = part(experiment(name), "features")
    assert (settings.name, settings.max_epochs, settings.batch_size) == ("simclr", 500, 512)
    assert (settings.temperature, settings.projection_dim, settings.symmetric) == (0.1, 128, False)
    optimiser = settings.optimiser
    assert (optimiser.name, optimiser.lr, optimiser.momentum, optimiser.weight_decay) == ("sgd", 0.4, 0.9, 1e-4)
    assert (optimiser.schedule, optimiser.lr * optimiser.final_lr_ratio) == ("cosine", pytest.approx(4e-4))


@pytest.mark.parametrize("name", SCAN)
def test_scan_mines_twenty_neighbours_after_the_projection(experiment, name):
    config = experiment(name)
    assert part(config, "embeddings").layer == "projection"
    mined = part(config, "neighbours")
    assert (mined.num_neighbours, mined.num_eval_neighbours) == (20, 5)


@pytest.mark.parametrize(
    ("name", "epochs", "batch"), [("scan_cifar10", 50, 128), ("scan_cifar100_20", 100, 512), ("scan_stl10", 100, 128)]
)
def test_scan_clusters_with_the_numbers_of_its_authors(experiment, name, epochs, batch):
    settings = part(experiment(name), "head")
    assert (settings.name, settings.max_epochs, settings.batch_size) == ("scan", epochs, batch)
    assert (settings.entropy_weight, settings.num_heads, settings.update) == (5.0, 1, "all")
    assert settings.view == "strong"
    check_adam(settings.optimiser)


@pytest.mark.parametrize(("name", "epochs"), [("scan_cifar10", 200), ("scan_cifar100_20", 200), ("scan_stl10", 100)])
def test_scan_labels_itself_with_the_numbers_of_its_authors(experiment, name, epochs):
    settings = part(experiment(name), "student")
    assert (settings.name, settings.max_epochs, settings.batch_size) == ("selflabel", epochs, 1000)
    assert (settings.threshold, settings.balanced, settings.ema_decay) == (0.99, True, None)
    check_adam(settings.optimiser)


def check_adam(optimiser) -> None:
    assert (optimiser.name, optimiser.lr, optimiser.weight_decay) == ("adam", 1e-4, 1e-4)
    assert optimiser.schedule == "constant"


@pytest.mark.parametrize(
    ("name", "side", "cutout", "mean", "std"),
    [
        ("scan_cifar10", 32, 16, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        ("scan_cifar100_20", 32, 16, (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
        ("scan_stl10", 96, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_scan_sees_its_data_as_its_authors_do(experiment, name, side, cutout, mean, std):
    data = experiment(name).data
    assert (data.image_size, data.views.size) == (side, side)
    assert (data.mean, data.std) == (mean, std)
    contrastive, strong = data.views.contrastive, data.views.strong
    assert (contrastive.crop_scale, contrastive.crop_ratio) == ((0.2, 1.0), (0.75, pytest.approx(4 / 3)))
    assert (contrastive.jitter, contrastive.jitter_probability) == ((0.4, 0.4, 0.4, 0.1), 0.8)
    assert (contrastive.flip_probability, contrastive.grayscale_probability) == (0.5, 0.2)
    assert (contrastive.blur_probability, contrastive.rotate_degrees) == (0, 0)
    assert (strong.flip_probability, strong.num_operations, strong.cutout_length) == (0.5, 4, cutout)
    assert strong.operations == {
        "identity": (0, 0), "auto_contrast": (0, 0), "equalize": (0, 0), "rotate": (-30, 30), "solarize": (0, 256),
        "color": (0.05, 0.95), "contrast": (0.05, 0.95), "brightness": (0.05, 0.95), "sharpness": (0.05, 0.95),
        "shear_x": (-0.1, 0.1), "translate_x": (-0.1, 0.1), "translate_y": (-0.1, 0.1), "posterize": (4, 8),
        "shear_y": (-0.1, 0.1),
    }  # fmt: skip


def test_methods_for_folders_on_a_cpu_share_their_features(experiment):
    scan, kmeans = experiment("scan_folder_cpu"), experiment("kmeans_folder_cpu")
    assert kmeans.method.name == "kmeans"
    assert part(kmeans, "features") == part(scan, "features")
    assert (kmeans.data.image_size, kmeans.data.views) == (scan.data.image_size, scan.data.views)
    assert kmeans.stages[0].backbone == scan.stages[0].backbone


def differing(one, other, path=""):
    """Dotted names of the settings in which two sections differ."""
    return {
        name
        for key in one.keys() | other.keys()
        for name in (
            differing(one[key], other[key], f"{path}{key}.")
            if isinstance(one.get(key), dict) and isinstance(other.get(key), dict)
            else {f"{path}{key}"} - ({f"{path}{key}"} if one.get(key) == other.get(key) else set())
        )
    }


FAST = {
    "scan_cifar10": {
        "features": {
            "max_epochs", "symmetric", "optimiser.lr", "optimiser.schedule", "optimiser.final_lr_ratio",
        },
        "head": {"max_epochs", "batch_size", "optimiser.lr"},
        "student": {"max_epochs"},
    },
    "spice_cifar10": {
        "features": {
            "max_epochs", "batch_size", "batch_norm_groups", "queue_size", "momentum", "temperature",
            "blur_probability", "optimiser.lr", "optimiser.weight_decay", "optimiser.schedule",
        },
        "head": {"max_epochs"},
        "student": {"max_epochs", "init"},
    },
    "asd_cifar10": {"head": {"max_epochs"}, "student": {"max_epochs"}},
}  # fmt: skip


@pytest.mark.parametrize("name", FAST)
def test_a_fast_experiment_is_the_same_method_and_network_with_less_training(experiment, name):
    whole, fast = experiment(name), experiment(f"{name}_fast")
    assert (fast.method, fast.data, fast.num_clusters) == (whole.method, whole.data, whole.num_clusters)
    for slow_plan, fast_plan in zip(whole.stages, fast.stages, strict=True):
        assert slow_plan.backbone == fast_plan.backbone
        slow, quick = slow_plan.settings.model_dump(), fast_plan.settings.model_dump()
        assert differing(slow, quick) == FAST[name].get(slow_plan.section, set())
        if "max_epochs" in quick:
            assert quick["max_epochs"] < slow["max_epochs"]


BUDGET, RATE, REST = 1350, 30_000, 150
"""Seconds, and the views per second and the seconds of all else that docs/decisions/cifar10-fast.md counts with."""


@pytest.mark.parametrize("name", FAST)
def test_a_fast_experiment_fits_its_25_minutes_at_the_rate_that_is_counted_with(experiment, name):
    config, images, forward = experiment(f"{name}_fast"), 50_000, 1 / 3
    parts = {plan.section: plan.settings for plan in config.stages}
    head, student = parts["head"], parts["student"]
    per_epoch = {
        "simclr": 2 * images, "moco": (1 + forward) * images, "scan": 2 * images + 10_000 * forward,
        "spice": 2 * images * forward, "selflabel": (1 + forward) * images,
    }  # fmt: skip
    views = sum(part.max_epochs * per_epoch.get(part.name, 0) for part in (parts.get("features", head), head, student)
                if part.name in per_epoch)  # fmt: skip
    seconds = REST
    if student.name == "fixmatch":
        step = student.batch_size * (1 + 2 * student.unlabelled_ratio)
        views += student.max_epochs * student.steps_per_epoch * step
    if head.name == "spice":
        labelled = head.batch_size // head.train_batch_size * head.num_repeats
        seconds += head.max_epochs * images // head.batch_size * labelled * 1e-3
    if head.name == "asd":
        seconds += head.max_epochs * (images // head.batch_size) * 25e-3
    assert seconds + views / RATE < BUDGET + 20


def test_asd_has_a_resnet18_in_every_stage(experiment):
    config = experiment("asd_cifar10")
    assert (config.method.name, config.data.name, config.data.protocol) == ("asd", "cifar10", "split")
    assert {plan.backbone.settings.name for plan in config.stages if plan.part.uses_network} == {"resnet18"}
    assert {plan.backbone.settings.stem for plan in config.stages if plan.part.uses_network} == {"cifar"}
    assert [plan.section for plan in config.stages] == ["head", "baseline", "transitions", "triggers", "student", "map"]
