"""One run from plain config values to the files it leaves behind."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from clusterlab import ranks
from clusterlab.artifacts import (
    Assignments,
    Baseline,
    ClusterCount,
    Instances,
    Neighbours,
    Projection,
    PseudoLabels,
    key_of,
)
from clusterlab.config import RunConfig, parse
from clusterlab.data.images import ImageSet
from clusterlab.durable import refusals_told
from clusterlab.errors import launched
from clusterlab.evaluation.oracle import check_oracle, oracle_labels
from clusterlab.output.dashboard import About
from clusterlab.output.dashboards import open_dashboard
from clusterlab.output.finished import FinishedRun, StageRecord
from clusterlab.output.stage_scalars import stage_scalars
from clusterlab.output.write import write_outputs
from clusterlab.pipeline import Given, Record, Source, Step, run_stage, run_stages, settled
from clusterlab.processes import join, launch, missing
from clusterlab.run_checks import check_images, check_stages, check_views
from clusterlab.run_folder import logging_to, only_run_in, quiet

log = logging.getLogger(__name__)


def run_or_launch(values: Mapping[str, Any], words: Sequence[str]) -> None:
    """Run what `values` say, in this process or, where more devices are asked for, in several; `words` is the command.

    Raises:
        UserError: something that a person can put right.
        ProcessError: one of several processes failed.
    """
    config = parse(values)
    count = missing(config.trainer)
    if not count:
        run(values)
        return
    check_stages(config)
    with only_run_in(config.run_dir):
        launch(words, count, config.run_dir / "processes")


def run(values: Mapping[str, Any]) -> dict[str, Any]:
    """Check the config, run its stages, write the outputs; return what stands in metrics.json.

    In a process that is not the first of a distributed run nothing is written, and what is returned is empty.

    Raises:
        UserError: something that a person can put right.
    """
    began = time.monotonic()
    config = parse(values)
    check_stages(config)
    join(config.trainer)
    first = ranks.rank() == 0
    with (
        only_run_in(config.run_dir) if first and not launched() else nullcontext(),
        logging_to(config.run_dir) if first else quiet(),
        refusals_told(config.stage_dir, "stage_dir"),
    ):
        images = load_images(config)
        config = replace(config, data=config.data.fitted_to(images))
        check_images(config, images)
        check_views(config, images)
        if config.evaluation.oracle and config.num_clusters is not None:
            check_oracle(images, config.num_clusters)
        if not first:
            return run_beside(config, images)
        about = About(
            run_dir=config.run_dir,
            config=config.values,
            group=f"{config.method.name}-{config.data.name}",
            name=f"{config.method.name}-{config.data.name}-{config.seed}",
            project=config.wandb.project,
            mode=config.wandb.mode,
            timeout=config.wandb.timeout,
        )
        with open_dashboard(config.logger, about) as dashboard:
            scalars: dict[str, Mapping[str, float]] = {}

            def tell(step: Step) -> None:
                scalars[step.key] = stage_scalars(step.load(), images)
                if scalars[step.key]:
                    dashboard.record(step.plan.section, 0, 0, scalars[step.key])

            steps = run_stages(config, images, dashboard.record, tell)
            config = settled(config, steps)
            oracle = run_oracle(config, images, steps, dashboard.record) if config.evaluation.oracle else None
            finished = _finished(config, images, steps, scalars, oracle)
            with refusals_told(config.run_dir, "run_dir"):
                metrics = write_outputs(finished, config.run_dir)
            dashboard.finish(finished, metrics, config.run_dir)
        _say(metrics, config.run_dir, time.monotonic() - began)
    return metrics


def load_images(config: RunConfig) -> ImageSet:
    """Return the images; the first of several processes decodes them, the others read what it decoded."""
    source, store = config.source(config.data), config.stage_dir / "images"
    images = source.load(store) if ranks.rank() == 0 else None
    ranks.wait_for_all()
    return source.load(store) if images is None else images


def run_beside(config: RunConfig, images: ImageSet) -> dict[str, Any]:
    """Do the part of a process that is not the first: its share of the stages, and nothing of what they leave."""
    steps = run_stages(config, images, lambda *_: None, lambda _: None)
    if config.evaluation.oracle:
        run_oracle(settled(config, steps), images, steps, lambda *_: None)
    return {}


def run_oracle(config: RunConfig, images: ImageSet, steps: list[Step], record: Record) -> Step:
    """Run the student again, with the true labels of the same images in the place of those it was started with."""
    student = next(step for step in steps if "pseudo_labels" in step.inputs)
    given = student.inputs["pseudo_labels"].load()
    start = student.inputs["assignments"].load() if "assignments" in student.inputs else None
    assert isinstance(given, PseudoLabels)
    assert start is None or isinstance(start, Assignments)
    labels = oracle_labels(given, start, images)
    replaced = Given(key_of({"labels": labels.labels.tolist()}), labels)
    inputs: dict[str, Source] = {**student.inputs, "pseudo_labels": replaced}
    return run_stage(config, images, replace(student.plan, section="oracle"), inputs, record, number="oracle")


def _finished(
    config: RunConfig,
    images: ImageSet,
    steps: list[Step],
    scalars: Mapping[str, Mapping[str, float]],
    oracle: Step | None,
) -> FinishedRun:
    def last(kind: type) -> Any:
        return next((step.load() for step in reversed(steps) if step.plan.part.produces is kind), None)

    result = next(step for step in reversed(steps) if step.plan.part.produces is Assignments)
    features = next((step.plan.settings.name for step in steps if step.plan.section in ("features", "head")), None)
    return FinishedRun(
        images=images,
        assignments=last(Assignments),
        stages=[_record(step, scalars[step.key]) for step in steps],
        baseline=last(Baseline),
        projection=last(Projection),
        neighbours=last(Neighbours),
        pseudo_labels=last(PseudoLabels),
        instances=last(Instances),
        count=last(ClusterCount),
        oracle=None if oracle is None else _record(oracle, {}),
        features=features,
        method=config.method.name,
        data=config.data.name,
        seed=config.seed,
        config=config.values,
        model={
            "backbone": result.plan.backbone.settings.model_dump(mode="json"),
            "channels": images.channels,
            "image_size": images.pixels.shape[-1],
            "view_size": config.data.views.size,
            "mean": list(config.data.mean),
            "std": list(config.data.std),
            "precision": config.trainer.precision,
            "inference_batch": config.trainer.inference_batch,
        },
    )


def _record(step: Step, scalars: Mapping[str, float]) -> StageRecord:
    artifact = step.load()
    return StageRecord(
        name=step.plan.section,
        part=step.plan.settings.name,
        key=step.key,
        seconds=step.seconds,
        cached=step.cached,
        folder=step.folder,
        clusters=artifact.probs.argmax(dim=1) if isinstance(artifact, Assignments) else None,
        scalars=scalars,
    )


def _say(metrics: Mapping[str, Any], run_dir: Path, seconds: float) -> None:
    """Tell what came out, beside the baselines, and where to look."""
    rows = [(metrics["method"], metrics)]
    rows += [
        (metrics[name]["name"], metrics[name]) for name in ("baseline", "pixel_baseline", "oracle") if name in metrics
    ]
    scores = [name for name in ("acc", "nmi", "ari", "silhouette") if metrics.get(name) is not None]
    width = max(len(name) for name, _ in rows)
    log.info("%s  %s", " " * width, "  ".join(f"{score:>10}" for score in scores))
    for name, found in rows:
        cells = (f"{found[s]:10.4f}" if found.get(s) is not None else " " * 10 for s in scores)
        log.info("%s  %s", name.ljust(width), "  ".join(cells))
    for warning in metrics["warnings"]:
        log.warning("warning: %s", warning)
    log.info("%s after %.1f s: look at %s", metrics["data"], seconds, os.path.relpath(run_dir / "report.html"))
