"""Writes everything that a run leaves in its folder, except the log."""

import json
from pathlib import Path
from typing import Any

import yaml

from clusterlab.durable import replacing, sync, write_text
from clusterlab.evaluation.labels import true_labels
from clusterlab.output.finished import FinishedRun
from clusterlab.output.gallery import typical_images
from clusterlab.output.model_folder import SavedModel, write_model
from clusterlab.output.names import read_names
from clusterlab.output.pictures import overview
from clusterlab.output.prototypes import choose, find_prototypes
from clusterlab.output.report import render
from clusterlab.output.summary import summarise
from clusterlab.output.table import tabulate, write_table

METRICS = "metrics.json"
OVERVIEW_ROWS, OVERVIEW_COLUMNS = 40, 12


def write_outputs(run: FinishedRun, run_dir: Path) -> dict[str, Any]:
    """Write the outputs of `run` into `run_dir`, each file whole or not at all; return the metrics.

    assignments.csv, assignments.parquet, model/, clusters.png, config.yaml, history.csv, report.html,
    metrics.json
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    labels = true_labels(run.images)
    choice = choose(run.assignments.probs)
    prototypes = find_prototypes(run.assignments.embeddings, choice, run.num_clusters)
    names = read_names(run_dir, result=run.result, num_clusters=run.num_clusters)
    table = tabulate(run.images, run.assignments, choice, prototypes, labels, names)
    metrics = summarise(run, table, labels)

    # Until the last file is written they are not all of the same run.
    (run_dir / METRICS).unlink(missing_ok=True)
    sync(run_dir)
    write_table(table, run_dir / "assignments.csv")
    write_table(table, run_dir / "assignments.parquet")
    head = {"hidden": run.assignments.hidden, "normalise": run.assignments.normalise}
    described = {**run.model, "result": run.result, "num_clusters": run.num_clusters, **head}
    write_model(SavedModel(run.assignments.network, prototypes, described), run_dir / "model")
    typical = enumerate(typical_images(table, run.num_clusters, OVERVIEW_COLUMNS))
    with replacing(run_dir / "clusters.png") as temporary:
        rows = [(cluster, index) for cluster, index in typical if index][:OVERVIEW_ROWS]
        overview(run.images.pixels, rows).save(temporary, "PNG")
    write_text(run_dir / "config.yaml", yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True))
    with replacing(run_dir / "history.csv") as temporary:
        run.history().write(temporary)
    write_text(run_dir / "report.html", render(run, table, prototypes, labels, metrics, names))
    # Last: where there are metrics, everything else is there, too.
    write_text(run_dir / METRICS, json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    return metrics
