"""What is looked at before the first stage of a run, so that a mistake is told at once and not after hours."""

import torch

from clusterlab.artifacts import Assignments
from clusterlab.config import BackbonePlan, RunConfig
from clusterlab.data.images import ImageSet
from clusterlab.errors import UserError
from clusterlab.memory import out_of_memory
from clusterlab.models.build import NetworkSpec
from clusterlab.models.sides import see_side
from clusterlab.pipeline import check_order, wanted
from clusterlab.training import TrainedStage


def check_stages(config: RunConfig) -> None:
    """See that every stage finds its inputs, and that clusters come out in the end.

    Raises:
        UserError: a stage does not, or none do; or the oracle has no student to train.
    """
    check_order(config)
    if all(plan.part.produces is not Assignments for plan in wanted(config.stages)):
        stages = ",".join(config.method.stages)
        raise UserError(
            f"method.stages=[{stages}] makes no clusters: add head, transitions or student, as method=NAME has"
        )
    if config.evaluation.oracle and all("pseudo_labels" not in plan.part.consumes for plan in config.stages):
        raise UserError("evaluation.oracle=true needs a student that is started with labels, such as student=fixmatch")


def check_images(config: RunConfig, images: ImageSet) -> None:
    """See that there are enough images.

    Raises:
        UserError: there are fewer than clusters.
    """
    where = "there are" if config.data.root is None else f"{config.data.root} has"
    for pool, name in ((images.train_index, "train on"), (images.eval_index, "score")):
        count = len(pool)
        if count < (config.num_clusters or 2):
            fewer = f"use num_clusters={max(2, count // 10)}, or more images" if count >= 2 else "at least 2 are needed"
            raise UserError(
                f"num_clusters={config.values['num_clusters']}, but {where} only {count} image{'s' * (count != 1)} to "
                f"{name}: {fewer}"
            )


def check_views(config: RunConfig, images: ImageSet) -> None:
    """See that every network that is to be trained can be, with views as large as they are.

    Raises:
        UserError: one cannot, or there is no room for it.
    """
    trained = [plan.backbone for plan in wanted(config.stages) if issubclass(plan.part, TrainedStage)]
    for plan in (plan for number, plan in enumerate(trained) if plan not in trained[:number]):
        try:
            _check_network(config, images, plan)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise UserError(
                f"backbone={plan.settings.name}: there is not enough memory for the network alone: use a smaller one"
            ) from error


def _check_network(config: RunConfig, images: ImageSet, plan: BackbonePlan) -> None:
    trainer, size = config.trainer, config.data.views.size
    assert size is not None
    with torch.random.fork_rng(devices=[]):  # what is drawn for it is drawn for nothing
        network = NetworkSpec(plan.part, plan.settings, images.channels).build()
    in_bf16 = trainer.autocast_dtype is not None and trainer.device.type == "cpu"
    see_side(network, plan.settings.name, channels=images.channels, views=size, bf16_on_cpu=in_bf16)
