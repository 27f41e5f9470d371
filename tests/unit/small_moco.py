"""MoCo with settings that suit the piece of work of the unit tests."""

from clusterlab.features.moco import MoCo, MoCoSettings
from clusterlab.models.optim import OptimiserSettings

OPTIMISER = OptimiserSettings(name="sgd", lr=0.1, weight_decay=0, momentum=0, schedule="cosine", final_lr_ratio=0)


def moco(work, **changes):
    values = {
        "max_epochs": 2, "batch_size": 8, "temperature": 0.2, "momentum": 0.9, "queue_size": 16, "projection_dim": 4,
        "batch_norm_groups": 2, "blur_probability": 0.0, "blur_sigma": (0.1, 1.0), "optimiser": OPTIMISER,
    }  # fmt: skip
    return MoCo(settings=MoCoSettings(name="moco", **(values | changes)), work=work)
