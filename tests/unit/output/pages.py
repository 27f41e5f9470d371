"""A report as a test reads it: rendered, and its data taken out."""

import json
import re
from collections.abc import Mapping
from typing import Any

from clusterlab.evaluation.labels import true_labels
from clusterlab.output.finished import FinishedRun
from clusterlab.output.prototypes import choose, find_prototypes
from clusterlab.output.report import render
from clusterlab.output.summary import summarise
from clusterlab.output.table import tabulate


def page_of(run: FinishedRun, names: Mapping[int, str] | None = None) -> str:
    choice, labels = choose(run.assignments.probs), true_labels(run.images)
    prototypes = find_prototypes(run.assignments.embeddings, choice, run.num_clusters)
    table = tabulate(run.images, run.assignments, choice, prototypes, labels, names or {})
    return render(run, table, prototypes, labels, summarise(run, table, labels), names or {})


def data_of(html: str) -> dict[str, Any]:
    """What the page hands to its script."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, flags=re.DOTALL)
    return json.loads(found)
