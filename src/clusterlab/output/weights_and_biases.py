"""The run on Weights & Biases: scalars of every stage, pictures, tables, the report, the assignments.

wandb is imported only when a dashboard is opened.
"""

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from clusterlab.output.confusion import confusion
from clusterlab.output.dashboard import About, Dashboard, gave_up, scalars_of
from clusterlab.output.finished import FinishedRun
from clusterlab.output.pictures import grid

log = logging.getLogger(__name__)

LEAST_SURE = 60
"""Images."""
START_SHARE = 0.4
"""Of the seconds that a server may take in all, those that it may take at the start."""


class WeightsAndBiases(Dashboard):
    """One W&B run."""

    def __init__(self, run: Any) -> None:
        super().__init__()
        self._run = run
        self._stages: set[str] = set()

    def send_epoch(self, stage: str, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        """Log `stage/metric`."""
        if stage not in self._stages:
            self._stages.add(stage)
            self._run.define_metric(f"{stage}/epoch", hidden=True)
            self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/epoch")
        scalars = {f"{stage}/{name}": value for name, value in metrics.items()}
        self._run.log(scalars | {f"{stage}/epoch": epoch, f"{stage}/step": step})

    def send_result(self, run: FinishedRun, metrics: Mapping[str, Any], run_dir: Path) -> None:
        """Add the summary, the pictures and tables of docs/dashboards.md, the report, the assignments."""
        import wandb

        self._run.summary.update(scalars_of(metrics))
        table = pq.read_table(run_dir / "assignments.parquet").to_pydict()
        self._run.log({
            "report": wandb.Html((run_dir / "report.html").read_text(encoding="utf-8"), inject=False),
            "clusters": wandb.Image(str(run_dir / "clusters.png")),
            "least_sure": wandb.Image(_least_sure(run, table["margin"])),
            **{name: wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])
               for name, rows in (("projection", _projection(run, table)), ("confusion", _confusion(run, table)))
               if rows},
        })  # fmt: skip
        name = re.sub(r"[^\w.-]", "_", f"assignments-{run.method}-{run.data}-{run.seed}")
        artifact = wandb.Artifact(name, type="assignments", metadata={"result": run.result})
        for file in ("assignments.parquet", "metrics.json", "config.yaml"):
            artifact.add_file(str(run_dir / file))
        self._run.log_artifact(artifact)

    def end(self, *, failed: bool) -> None:
        """Upload what is left."""
        self._run.finish(exit_code=int(failed))


def _least_sure(run: FinishedRun, margin: list[float]) -> Image.Image:
    order = np.argsort(np.array(margin), kind="stable")[:LEAST_SURE].tolist()
    return grid(run.images.pixels, order, columns=min(len(order), 12))


def _projection(run: FinishedRun, table: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """A row for each image on the map."""
    if run.projection is None:
        return []
    points = run.projection.points.double().numpy()
    shown = [name for name in ("id", "cluster", "name", "confidence", "label") if name in table]
    return [
        {"x": float(points[i, 0]), "y": float(points[i, 1]), **{name: table[name][i] for name in shown}}
        for i in np.flatnonzero(np.isfinite(points).all(axis=1)).tolist()
    ]


def _confusion(run: FinishedRun, table: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """A row for each cluster that holds images of a class, where labels are known."""
    pool = run.images.eval_index.tolist()
    labels = [table["label"][i] for i in pool] if "label" in table else []
    names = sorted(set(labels) - {""})
    if not names:
        return []
    place = {name: number for number, name in enumerate(names)} | {"": -1}
    clusters = np.array([table["cluster"][i] for i in pool])
    found = confusion(clusters, np.array([place[label] for label in labels]), run.num_clusters)
    return [
        {"class": names[label], "cluster": cluster, "matched": found.matched.get(cluster) == label, "images": images}
        for label, row in zip(found.classes, found.counts.tolist(), strict=True)
        for cluster, images in zip(found.clusters, row, strict=True)
        if images
    ]


def open_wandb(about: About) -> Dashboard:
    """Start a W&B run, or a dashboard that does nothing: what is refused or takes too long is one line in the log."""
    wanted = os.environ.get("WANDB_MODE", about.mode) if about.mode == "auto" else about.mode
    if wanted == "disabled":
        return Dashboard()
    try:
        import wandb
    except ImportError as error:
        level = logging.INFO if wanted == "auto" else logging.WARNING
        log.log(level, "no dashboard: wandb cannot be imported (%s)", str(error).splitlines()[0])
        return Dashboard()
    # wandb tells its makers how it fares; that this fails where the server does is said once, by us.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    try:
        settings = wandb.Settings(
            silent=True,
            console="off",
            init_timeout=START_SHARE * about.timeout,
            finish_timeout=(1 - START_SHARE) * about.timeout,
            finish_timeout_raises=True,
            disable_git=True,
            disable_job_creation=True,
            save_code=False,
        )
        wandb.setup(settings)
        online = wanted != "offline" and has_key(wandb)
        if wanted == "online" and not online:
            log.warning("wandb.mode=online, but no API key is configured: recording offline")
        run = wandb.init(
            project=about.project,
            group=about.group,
            name=about.name,
            dir=about.run_dir,
            config=dict(about.config),
            mode="online" if online else "offline",
            reinit="create_new",
            settings=settings,
        )
    except Exception as error:
        gave_up("W&B", error)
        return Dashboard()
    folder = Path(run.dir).parent
    if online:
        log.info("dashboard: %s, and in %s", run.url, folder)
    else:
        log.info("dashboard offline; to upload it: wandb sync %s", folder)
    return WeightsAndBiases(run)


def has_key(wandb: Any) -> bool:
    """Whether a key is configured: in the environment, in .netrc, in wandb's settings. Asks nobody."""
    return bool(wandb.login(prompt=False, verify=False))
