"""Labels change what is reported and nothing else."""

import csv
import json

import pytest
from command_line import SMALL


def clusters(folder):
    with (folder / "assignments.csv").open(newline="", encoding="utf-8") as file:
        return [(row["id"], row["cluster"], row["confidence"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("method", SMALL)
def test_the_same_run_with_and_without_labels_gives_the_same_clusters(command, scans, method):
    sizes = [word for word in SMALL[method] if not word.startswith("data.limit")]
    for name in ("with", "without"):
        command(
            *sizes, "data=arrays", "backbone=small", f"data.root={scans / f'{name}.npz'}", "num_clusters=10",
            f"run_dir={name}", f"stage_dir={name}/stages",
        )  # fmt: skip
    assert clusters(command.folder / "with") == clusters(command.folder / "without")
    metrics = {n: json.loads((command.folder / n / "metrics.json").read_text()) for n in ("with", "without")}
    assert {"acc", "nmi", "ari"} <= metrics["with"].keys()
    assert not {"acc", "nmi", "ari", "neighbour_purity"} & metrics["without"].keys()
    assert "acc" not in metrics["without"]["baseline"]
