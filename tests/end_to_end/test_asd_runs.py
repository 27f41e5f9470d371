"""What ASD alone offers on the command line: the row of a student that was given true labels, and another start."""

import json
import sys

import pytest

from clusterlab.__main__ import main
from command_line import SMALL


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """The command in this process, where types are checked, too; answers with its folder and what it said."""
    monkeypatch.chdir(tmp_path)

    def command(name, *words):
        folder = tmp_path / name
        monkeypatch.setattr(sys, "argv", ["clusterlab", *words, f"run_dir={folder}", f"stage_dir={folder}/stages"])
        main()
        return folder, "".join(capfd.readouterr())

    return command


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_a_row_that_uses_labels_changes_nothing_of_the_runs_own_result(run):
    oracle, said = run("with", *SMALL["asd"], "evaluation.oracle=true")
    plain, said_without = run("without", *SMALL["asd"])
    assert (oracle / "assignments.csv").read_bytes() == (plain / "assignments.csv").read_bytes()
    metrics, without = metrics_of(oracle), metrics_of(plain)
    row = metrics.pop("oracle")
    assert row["uses_labels"] is True
    assert {"acc", "nmi", "ari", "silhouette"} <= row.keys()
    for found in (metrics, without):
        del found["seconds"]
        for stage in found["stages"]:
            del stage["seconds"]
    assert metrics == without
    assert "[oracle] oracle: fixmatch: starting" in said
    assert "fixmatch on true labels of the same images (uses labels)" in said
    assert "oracle" not in said_without
    students = [path.read_bytes() for path in (oracle / "stages").glob("student-*/tensors.safetensors")]
    (own,) = (plain / "stages").glob("student-*/tensors.safetensors")
    assert len(set(students)) == 2
    assert own.read_bytes() in students


@pytest.mark.parametrize(
    ("start", "between"), [("scan", ["embeddings", "neighbours", "baseline"]), ("spice", ["embeddings", "baseline"])]
)
def test_asd_from_the_clusters_of_another_method_runs_to_the_end_in_a_few_steps(run, start, between):
    folder, said = run(
        "smoke", "method=asd", f"head.adapt={start}", "trainer=smoke", "data.limit=300", "backbone.width=8",
        "map.max_images=60", "baseline.restarts=1", "wandb.mode=disabled",
    )  # fmt: skip
    assert [stage["name"] for stage in metrics_of(folder)["stages"]] == [
        "features", *between, "adapted", "head", "transitions", "triggers", "student", "map",
    ]  # fmt: skip
    assert f"adapted: {start}: starting" in said
    told = {line.split(",")[0] for line in (folder / "history.csv").read_text().splitlines()[1:]}
    assert told == {"features", "adapted", "head", "triggers", "student", *between} - {"embeddings", "baseline"}
    stages = {path.name.rsplit("-", 1)[0] for path in (folder / "stages").iterdir() if path.is_dir()}
    assert {f"head-{start}", "head-asd"} <= stages
    assert len((folder / "assignments.csv").read_text().splitlines()) == 1 + 300
