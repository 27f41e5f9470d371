import csv
import io
import statistics
from pathlib import Path

import pytest

from clusterlab.output.safe_text import original_text
from clusterlab.output.sweep_table import as_csv, as_text, render, tabulate, write_table
from clusterlab.sweep_records import Record

ACC = {("scan", 0): 0.9, ("scan", 1): 0.8, ("scan", 2): 0.4, ("spice", 0): 0.7}


def record(number, *words, varied=("method", "seed"), error=None, metrics=None):
    seed = next((int(word[5:]) for word in words if word.startswith("seed=")), 0)
    return Record(number, words, varied, f"outputs/{number}", seed, error=error, metrics=metrics or {})


def scored(acc=None, silhouette=0.2):
    scores = {} if acc is None else {"acc": acc, "nmi": acc, "ari": acc}
    return scores | {"silhouette": silhouette, "used_clusters": 10, "seconds": 3.5}


@pytest.fixture
def table():
    jobs = [
        record(i, f"method={method}", f"seed={seed}", "trainer=cpu", metrics=scored(acc))
        for i, ((method, seed), acc) in enumerate(ACC.items())
    ]
    return tabulate([*jobs, record(9, "method=spice", "seed=1", "trainer=cpu", error="it broke")])


def parsed(table):
    return list(csv.DictReader(io.StringIO(as_csv(table))))


def test_a_row_has_the_mean_and_the_sample_deviation_over_its_seeds(table):
    scan, _ = parsed(table)
    of_scan = [acc for (method, _), acc in ACC.items() if method == "scan"]
    assert (scan["method"], scan["trainer"], scan["seeds"], scan["failed"]) == ("scan", "cpu", "3", "0")
    assert float(scan["acc_mean"]) == pytest.approx(statistics.mean(of_scan), abs=1e-6)
    assert float(scan["acc_deviation"]) == pytest.approx(statistics.stdev(of_scan), abs=1e-6)


def test_a_single_seed_has_no_deviation_and_a_failed_job_counts_apart(table):
    _, spice = parsed(table)
    assert (spice["acc_mean"], spice["acc_deviation"]) == ("0.700000", "")
    assert (spice["seeds"], spice["failed"]) == ("1", "1")


def test_without_labels_there_is_no_column_for_accuracy():
    table = tabulate([record(0, "method=scan", metrics=scored())])
    assert not {"acc_mean", "nmi_mean", "ari_mean"} & set(parsed(table)[0])
    assert parsed(table)[0]["silhouette_mean"] == "0.200000"
    assert "accuracy" not in render(table, Path("sweep"))


def test_a_score_that_one_run_lacks_is_the_mean_of_the_others():
    jobs = [record(i, f"seed={i}", metrics=scored(silhouette=value)) for i, value in enumerate((0.2, None, 0.4))]
    row = parsed(tabulate(jobs))[0]
    assert (row["seeds"], row["silhouette_mean"]) == ("3", "0.300000")


def test_where_every_job_failed_there_is_still_a_table():
    table = tabulate([record(0, "method=scan", error="it broke")])
    assert parsed(table) == [{"method": "scan", "seeds": "0", "failed": "1"}]
    assert "it broke" in render(table, Path("sweep"))


def test_settings_that_a_search_tried_twice_count_once():
    twice = [record(0, "head.entropy_weight=2", metrics=scored()), record(0, "head.entropy_weight=2", metrics=scored())]
    assert parsed(tabulate(twice))[0]["seeds"] == "1"


def test_the_terminal_shows_what_varies(table):
    head, scan, spice = as_text(table).splitlines()
    assert head.split() == [
        "method", "seeds", "failed", "acc", "nmi", "ari", "silhouette", "used_clusters", "seconds",
    ]  # fmt: skip
    assert scan.startswith("scan")
    assert "0.700 ± 0.265" in scan
    assert "0.700 " in spice
    assert "±" not in spice


@pytest.mark.parametrize("hostile", ["=cmd|' /C calc'!A0", "@SUM(1)", "+1+cmd", 'a"b,c\nd', "-2+3"])
def test_a_spreadsheet_sees_no_formula_and_one_cell(hostile):
    found = parsed(tabulate([record(0, f"data.root={hostile}", varied=("data.root",), metrics=scored())]))
    assert len(found) == 1
    assert found[0]["data.root"][0] not in "=+-@"
    assert original_text(found[0]["data.root"]) == hostile


def test_a_negative_number_stays_a_number():
    assert parsed(tabulate([record(0, "head.x=-0.5", metrics=scored())]))[0]["head.x"] == "-0.5"


def test_the_page_holds_no_markup_of_the_commands_words():
    hostile = record(0, 'data.root=<script>alert(1)</script>"', varied=("data.root",), metrics=scored())
    failed = record(1, "data.root=x", varied=("data.root",), error="<img src=x onerror=alert(1)>")
    page = render(tabulate([hostile, failed]), Path("sweep"))
    assert "<script" not in page
    assert "<img" not in page
    assert "default-src 'none'" in page


def test_a_link_is_relative_and_names_no_scheme():
    page = render(tabulate([Record(0, ("seed=0",), ("seed",), "javascript:alert(1)", 0, metrics=scored())]), Path())
    assert 'href="javascript%3Aalert%281%29/report.html"' in page


def test_both_files_are_written(table, tmp_path):
    write_table(table, tmp_path)
    assert (tmp_path / "sweep.csv").read_text(encoding="utf-8") == as_csv(table)
    assert (tmp_path / "sweep.html").read_text(encoding="utf-8").startswith("<!doctype html>")
