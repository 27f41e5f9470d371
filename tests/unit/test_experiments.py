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
