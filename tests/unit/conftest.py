"""A piece of work small enough for unit tests: 60 real digits, a tiny network, a trainer of two epochs."""

import pytest

from clusterlab.data.images import ImageSet
from clusterlab.data.sources.base import SourceSettings
from clusterlab.models.backbones.small import Small, SmallSettings
from clusterlab.models.build import NetworkSpec
from clusterlab.stage import Work
from clusterlab.trainer import TrainerSettings

VIEWS = {
    "size": 8,
    "contrastive": {
        "crop_scale": [0.5, 1.0], "crop_ratio": [0.75, 1.3333], "rotate_degrees": 0.0, "flip_probability": 0.0,
        "jitter": [0.4, 0.4, 0.0, 0.0], "jitter_probability": 0.8, "grayscale_probability": 0.0,
        "blur_probability": 0.0, "blur_sigma": [0.1, 2.0],
    },
    "weak": {"flip_probability": 0.0, "padding": 1},
    "strong": {
        "flip_probability": 0.0, "num_operations": 2, "operations": {"identity": [0, 0], "contrast": [0.5, 0.95]},
        "cutout_length": 2,
    },
    "randaugment": {"num_operations": 2, "ranges": {"contrast": [0.3, 0.9]}, "cutout_share": 0.3},
}  # fmt: skip


@pytest.fixture
def digit_images():
    import numpy as np
    from sklearn.datasets import load_digits

    pixels = (load_digits().images[:60, None] * 255 / 16).round().astype(np.uint8)
    return ImageSet(
        pixels=pixels, ids=tuple(str(i) for i in range(60)), splits=("train",) * 40 + ("test",) * 20,
        protocol="split", fingerprint="sixty digits",
    )  # fmt: skip


@pytest.fixture
def work(tmp_path, digit_images):
    import json

    data = {
        "name": "digits", "root": None, "image_size": 8, "num_classes": 10, "protocol": "split", "labels": "none",
        "limit": None, "memory_limit": 1.0, "mean": [0.3], "std": [0.3], "views": VIEWS,
    }  # fmt: skip
    return Work(
        images=digit_images,
        data=SourceSettings.model_validate_json(json.dumps(data)),
        network=NetworkSpec(Small, SmallSettings(name="small", width=4), 1),
        num_clusters=10,
        seed=0,
        trainer=TrainerSettings(
            name="test", accelerator="cpu", devices=1, precision="32-true", channels_last=True, compile=False,
            checkpoint_seconds=1e9, inference_batch=16, max_epochs=2, max_steps_per_epoch=None,
        ),
        folder=tmp_path,
        title="stage",
        listener=lambda *_: None,
    )  # fmt: skip
