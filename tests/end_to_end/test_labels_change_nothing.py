"""Labels change what is reported and nothing else; every key of the report to a dashboard is documented."""

import csv
import json

import pytest

from command_line import SMALL
from documented_keys import undocumented
from killed import succeed

SELF_TOLD = {"scan": {"neighbours/self_consistency"}, "spice": {"reliable/share"}, "asd": {"triggers/share"}}
"""What stages that are not trained tell of themselves without labels."""
ONCE = {"neighbours/purity"}.union(*SELF_TOLD.values())


def clusters(folder):
    with (folder / "assignments.csv").open(newline="", encoding="utf-8") as file:
        return [(row["id"], row["cluster"], row["confidence"]) for row in csv.DictReader(file)]


def history_of(folder):
    with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def dashboard_of(folder):
    """What `logger=csv` has columns for."""
    with (folder / "csv" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return set(next(csv.reader(file))) - {"step"}


@pytest.mark.parametrize("method", SMALL)
def test_the_same_run_with_and_without_labels_gives_the_same_clusters(tmp_path, scans, method):
    sizes = [word for word in SMALL[method] if not word.startswith("data.limit")]
    for name in ("with", "without"):
        succeed(
            tmp_path,
            *sizes, "data=arrays", "backbone=small", f"data.root={scans / f'{name}.npz'}", "num_clusters=10",
            f"run_dir={name}", f"stage_dir={name}/stages", "logger=csv",
        )  # fmt: skip
    assert clusters(tmp_path / "with") == clusters(tmp_path / "without")
    metrics = {n: json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("with", "without")}
    assert {"acc", "nmi", "ari"} <= metrics["with"].keys()
    assert not {"acc", "nmi", "ari", "neighbour_purity"} & metrics["without"].keys()
    assert "acc" not in metrics["without"]["baseline"]
    told = {name: dashboard_of(tmp_path / name) for name in ("with", "without")}
    once = {f"{row['stage']}/{row['metric']}" for row in history_of(tmp_path / "without")} & ONCE
    assert once == told["without"] & ONCE == SELF_TOLD[method]
    purity = {"neighbours/purity"} if method == "scan" else set()
    assert told["with"] & ONCE == once | purity
    for keys in told.values():
        assert undocumented(keys) == set()
