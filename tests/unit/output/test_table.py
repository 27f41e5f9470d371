import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from clusterlab.data.images import Labels
from clusterlab.evaluation.labels import true_labels
from clusterlab.output.finished import FinishedRun
from clusterlab.output.prototypes import choose, find_prototypes
from clusterlab.output.safe_text import original_text
from clusterlab.output.table import AssignmentTable, tabulate, write_table

COLUMNS = ["id", "split", "cluster", "confidence", "margin", "distance", "outlier", "duplicate_of"]


def table_of(run: FinishedRun, **names: str) -> AssignmentTable:
    choice = choose(run.assignments.probs)
    prototypes = find_prototypes(run.assignments.embeddings, choice, run.num_clusters)
    called = {int(cluster.removeprefix("cluster")): name for cluster, name in names.items()}
    return tabulate(run.images, run.assignments, choice, prototypes, true_labels(run.images), called)


def test_csv_holds_the_table(make_run, tmp_path: Path):
    run = make_run(60)
    write_table(table_of(run), tmp_path / "a.csv")
    read = pd.read_csv(tmp_path / "a.csv", dtype={"label": str}, keep_default_na=False)
    assert list(read.columns) == [*COLUMNS, "label"]
    assert tuple(read["id"]) == run.images.ids
    assert tuple(read["split"]) == run.images.splits
    probs = run.assignments.probs.sort(dim=1, descending=True)
    assert read["cluster"].tolist() == probs.indices[:, 0].tolist()
    assert np.allclose(read["confidence"], probs.values[:, 0], atol=1e-6)
    assert np.allclose(read["margin"], probs.values[:, 0] - probs.values[:, 1], atol=1e-6)
    assert read["label"].tolist() == [str(value) for value in run.images.sealed_labels.values]


def test_parquet_holds_the_same_as_csv(make_run, tmp_path: Path):
    table = table_of(make_run(60))
    write_table(table, tmp_path / "a.csv")
    write_table(table, tmp_path / "a.parquet")
    typed = pd.read_parquet(tmp_path / "a.parquet")
    read = pd.read_csv(tmp_path / "a.csv", dtype={"label": str}, keep_default_na=False)
    assert typed.dtypes.astype(str)[["cluster", "confidence", "outlier"]].tolist() == [
        "int32",
        "float32",
        "bool",
    ]
    pd.testing.assert_frame_equal(typed.round(6), read, check_dtype=False, atol=2e-6)


def test_the_same_table_gives_the_same_bytes(make_run, tmp_path: Path):
    for name in ("a", "b"):
        write_table(table_of(make_run(30)), tmp_path / f"{name}.csv")
        write_table(table_of(make_run(30)), tmp_path / f"{name}.parquet")
    for end in ("csv", "parquet"):
        assert (tmp_path / f"a.{end}").read_bytes() == (tmp_path / f"b.{end}").read_bytes()


def test_lines_are_of_one_form(make_run, tmp_path: Path):
    write_table(table_of(make_run(20)), tmp_path / "a.csv")
    content = (tmp_path / "a.csv").read_bytes().decode("utf-8")
    assert "\r" not in content
    form = r'"[^"]+",(train|test),\d+,\d\.\d{6},\d\.\d{6},\d\.\d{6},(true|false),,"\d"'
    assert all(re.fullmatch(form, line) for line in content.splitlines()[1:])


def test_without_labels_there_is_no_label_column(make_run, tmp_path: Path):
    table = table_of(make_run(20, labelled=False))
    write_table(table, tmp_path / "a.csv")
    write_table(table, tmp_path / "a.parquet")
    assert list(pd.read_csv(tmp_path / "a.csv").columns) == COLUMNS
    assert list(pd.read_parquet(tmp_path / "a.parquet").columns) == COLUMNS


def test_an_unknown_label_is_empty(make_run):
    run = make_run(4)
    labels = Labels(np.array([2, -1, 0, -1]), ("ant", "bee", "=cow"))
    run = replace(run, images=replace(run.images, sealed_labels=labels))
    assert table_of(run).label == ["./=cow", "", "ant", ""]


def test_duplicates_name_the_first_id(make_run):
    run = make_run(12)
    run.images.pixels[7] = run.images.pixels[2]
    table = table_of(run)
    assert table.duplicate_of == [run.images.ids[2] if i == 7 else "" for i in range(12)]


HOSTILE = (
    "=cmd|' /C calc'!A0.jpg",
    "+1.png",
    "-x.png",
    "@SUM(A1).png",
    'a"b,c.png',
    "line\nbreak\r.png",
    "tab\t=1.png",
    "semi;=1+1.png",
    "not-utf8-\udcff.png",
    "back\\slash.png",
    "<script>alert(1)</script>.png",
    "ordinary/ü.png",
)


def test_hostile_names_survive_the_round_trip_and_are_inert(make_run, tmp_path: Path):
    run = make_run(12, ids=HOSTILE, num_clusters=3)
    run.images.pixels[11] = run.images.pixels[0]
    write_table(table_of(run), tmp_path / "a.csv")
    content = (tmp_path / "a.csv").read_bytes().decode("utf-8")
    assert content.count("\n") == 13
    rows = list(csv.DictReader(content.splitlines()))
    assert tuple(original_text(row["id"]) for row in rows) == HOSTILE
    assert original_text(rows[11]["duplicate_of"]) == HOSTILE[0]
    for separator in (",", ";"):
        cells = [cell for row in csv.reader(content.splitlines(), delimiter=separator) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_an_outlier_is_beyond_the_fence_of_its_own_cluster(make_run):
    run = make_run(120)
    choice = choose(run.assignments.probs)
    prototypes = find_prototypes(run.assignments.embeddings, choice, run.num_clusters)
    tight = prototypes._replace(fences=torch.where(torch.arange(10) == 3, 0.0, torch.inf))
    table = tabulate(run.images, run.assignments, choice, tight, None, {})
    assert table.outlier.tolist() == [c == 3 and d > 0 for c, d in zip(table.cluster, table.distance, strict=True)]
    assert table.outlier.any()


@pytest.mark.parametrize("n", [1, 2])
def test_a_handful_of_images_is_enough(make_run, n: int):
    assert len(table_of(make_run(n, num_clusters=1)).id) == n


def test_clusters_that_have_names_get_a_column_before_the_labels(make_run, tmp_path: Path):
    table = table_of(make_run(30), cluster2='=a "b"')
    write_table(table, tmp_path / "a.csv")
    write_table(table, tmp_path / "a.parquet")
    read = pd.read_csv(tmp_path / "a.csv", dtype=str, keep_default_na=False)
    assert list(read.columns) == [*COLUMNS, "name", "label"]
    assert {(row.cluster, row.name_) for row in read.rename(columns={"name": "name_"}).itertuples()} == {
        (cluster, './=a "b"' if cluster == "2" else "") for cluster in read["cluster"]
    }
    assert "2" in set(read["cluster"])
    assert pd.read_parquet(tmp_path / "a.parquet")["name"].tolist() == read["name"].tolist()
