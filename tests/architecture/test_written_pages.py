"""The pages whose figures come from runs say what the files of these runs say."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks/write_pages.py"

SPREAD = '{{ results["STEM"].runs | over("PATH") | spread }}'
FEWEST = '{{ results["STEM"].runs | over("seconds") | lowest | counted }}'
MOST = '{{ results["STEM"].runs | over("seconds") | highest | counted }}'
MEDIAN = '{{ results["STEM"].runs | over("PATH") | median | decimal }}'


def of(form: str, stem: str, path: str = "") -> str:
    return form.replace("STEM", stem).replace("PATH", path)


def in_the_readme(name: str, stem: str) -> str:
    scores, seconds = (of(SPREAD, stem, path) for path in ("acc", "baseline.acc")), of(f"{FEWEST} to {MOST}", stem)
    return f"| {name} | {' | '.join(scores)} | {seconds}"


CPU = "cifar10-cpu-scan"
QUOTED = {
    "README.md": (
        in_the_readme("SCAN", "digits-scan"),
        in_the_readme("SPICE", "digits-spice"),
        in_the_readme("ASD, our reading (one thread)", "asd_digits"),
        f"| k-means on pixels | {of(SPREAD, 'digits-scan', 'pixel_baseline.acc')} |",
        f"SCAN ({of(MEDIAN, CPU, 'acc')}) does not reach k-means on its features ({of(MEDIAN, CPU, 'baseline.acc')})",
    ),
    "docs/choosing.md": (
        f"({of(MEDIAN, CPU, 'baseline.acc')} to {of(MEDIAN, CPU, 'acc')})",
        f"({of(MEDIAN, 'digits-scan', 'acc')} to {of(MEDIAN, 'digits-scan', 'baseline.acc')},",
        f"{of(MEDIAN, 'digits-spice', 'stages.head.acc')} after the head, {of(MEDIAN, 'digits-spice', 'acc')} after",
        f"({of(MEDIAN, 'asd_digits', 'acc')})",
    ),
}
"""What other pages quote from the files, as a template says it."""


@pytest.fixture
def written(tmp_path):
    """Write the pages from some more files of results; return what the command says, and where the pages are."""

    def write(**files):
        shutil.copytree(ROOT / "benchmarks/results", tmp_path / "results")
        for stem, content in files.items():
            (tmp_path / "results" / f"{stem}.json").write_text(json.dumps(content))
        words = ("--results", tmp_path / "results", "--docs", tmp_path / "docs")
        done = subprocess.run([sys.executable, SCRIPT, *words], check=False, capture_output=True, text=True)
        return done, tmp_path / "docs"

    return write


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import write_pages

    return write_pages


def test_the_pages_are_what_the_templates_and_the_results_give(script):
    stale = {
        name
        for name, text in script.pages(script.Results(script.RESULTS)).items()
        if not (script.DOCS / name).is_file() or (script.DOCS / name).read_text(encoding="utf-8") != text
    }
    assert not stale, f"in docs/: {', '.join(sorted(stale))}: run `make results`, and commit what it writes"


@pytest.mark.parametrize("page", QUOTED)
def test_other_pages_quote_what_the_files_say(script, page):
    results, jinja = script.Results(script.RESULTS), script.environment()
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [
        found for quoted in QUOTED[page] if (found := jinja.from_string(quoted).render(results=results)) not in text
    ] == []


def test_a_run_on_a_gpu_fills_its_row(written):
    runs = [{"acc": acc, "protocol": "split", "baseline": {"acc": 0.7}} for acc in (0.81, 0.83, 0.82)]
    done, docs = written(scan_cifar10_fast={"command": "…", "runs": runs})
    assert done.returncode == 0, done.stderr
    rows = (docs / "results.md").read_text(encoding="utf-8").splitlines()
    (row,) = (row for row in rows if row.startswith("| `scan_cifar10_fast`"))
    assert "0.820 (0.810 to 0.830), 3 seeds" in row
    assert "not run" not in row


def test_the_rows_of_a_machine_are_shown_and_one_that_misses_its_aim_is_named(written):
    row = {
        "work": "batch 128", "plain": "Pillow", "unit": "images/s", "ours": 270.0, "theirs": 100.0, "ratio": 2.7,
        "lowest": 2.5, "highest": 2.9, "turns": 7, "note": "memory is what both wait for",
    }  # fmt: skip
    rows = [row | {"row": "a training step", "at_least": 3.0}, row | {"row": "decoding", "at_least": 2.0}]
    stage = {
        "stage": "features", "images": [1000, 10000], "microseconds_per_image": [120.0, 130.0], "flat_within": 0.04,
        "why_not_flat": None,
    }  # fmt: skip
    machine = {"processor": "a processor", "threads": 2}
    about = {"command": "make benchmark", "machine": machine, "seconds": 600}
    done, docs = written(a_machine=about | {"rows": rows, "growth": {"stages": [stage]}})
    assert done.returncode == 0, done.stderr
    page = (docs / "results.md").read_text(encoding="utf-8")
    assert "| a training step | batch 128 | Pillow | 100 images/s | 270 images/s | 2.7 (2.5 to 2.9) |" in page
    assert "a training step misses its aim, 3.0 times as fast: memory is what both wait for." in page
    assert "decoding misses" not in page
    assert "has not been run" not in page
    assert "| features | 120 µs | 130 µs | 4 % |" in page
    assert "130 µs" in (docs / "pictures/growth.svg").read_text(encoding="utf-8")


def test_a_template_whose_figures_are_missing_ends_in_one_line(script, tmp_path):
    (tmp_path / "page.md.jinja").write_text('{{ results["nowhere"].runs }}')
    with pytest.raises(script.PageError, match=r"page\.md\.jinja: .*nowhere\.json is not there") as raised:
        script.pages(script.Results(script.RESULTS), tmp_path)
    assert "\n" not in str(raised.value)
