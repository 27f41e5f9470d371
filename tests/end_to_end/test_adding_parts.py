"""What docs/adding-a-student.md and docs/adding-a-method.md tell to write works: their files, installed and run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from clusterlab.registry import names
from command_line import Command

ROOT = Path(__file__).parents[2]
PAGES = ("adding-a-student", "adding-a-method")
SMOKE = (
    "data.limit=300", "backbone.width=8", "trainer=smoke", "map.max_images=60", "baseline.restarts=1",
    "wandb.mode=disabled",
)  # fmt: skip


def files_on(page: str) -> dict[str, str]:
    """Every code block below a line that is a file's name, by that name."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^`([^`\n]+)`\n\n```\w+\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder per page, with its files."""
    folders = [tmp_path_factory.mktemp(page) for page in PAGES]
    for page, folder in zip(PAGES, folders, strict=True):
        for name, content in files_on(page).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
    return folders


@pytest.fixture(scope="module")
def installed(tmp_path_factory, written):
    """Where pip has put the two packages."""
    target = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
            "--disable-pip-version-check", "--target", str(target), *map(str, written),
        ],
        check=True, timeout=120,
    )  # fmt: skip
    return target


@pytest.fixture(scope="module")
def command(tmp_path_factory, installed):
    """The command, with the packages installed; runs share their stages."""
    return Command(tmp_path_factory.mktemp("runs"), PYTHONPATH=str(installed))


def parts_of(run: Path) -> dict[str, str]:
    """Which part filled which section of a finished run."""
    assert len((run / "assignments.csv").read_text(encoding="utf-8").splitlines()) == 301
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert 0 <= metrics["acc"] <= 1
    return {stage["name"]: stage["part"] for stage in metrics["stages"]}


def test_the_students_file_has_less_than_forty_lines():
    assert len(files_on("adding-a-student")["acme/margin.py"].splitlines()) < 40


def test_nothing_of_the_packages_is_in_this_project():
    own = {path.stem for group in ("student", "head", "method") for path in (ROOT / "conf" / group).glob("*.yaml")}
    assert own.isdisjoint({"margin", "mixture", "scan_flexmatch"})
    assert "margin" not in names("student")
    assert "mixture" not in names("head")


def test_the_code_on_the_pages_has_the_style_of_the_house(written):
    # Tests need no docstrings, and which imports are first-party depends on the folder.
    for verb in (["format", "--check"], ["check", "--extend-ignore", "D100,D103,I001"]):
        words = ["ruff", *verb, "--no-cache", "--config", str(ROOT / "pyproject.toml"), *map(str, written)]
        done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_tests_on_the_pages_pass(written, installed):
    found = [str(path) for folder in written for path in sorted((folder / "tests").glob("test_*.py"))]
    assert len(found) == len(PAGES)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *found],
        cwd=installed, env=os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_help_lists_what_the_packages_bring(command):
    choices = dict(re.findall(r"^  (\w+) +(\w.*)$", command("--help"), flags=re.MULTILINE))
    assert "margin" in choices["student"].split(", ")
    assert "mixture" in choices["head"].split(", ")
    assert "scan_flexmatch" in choices["method"].split(", ")


def test_the_student_learns_from_the_clusters_of_scans_head_and_of_the_new_one_in_a_sweep(command):
    command("-m", "head=scan,mixture", "student=margin", "run_dir=out/${head.name}", *SMOKE)
    for head in ("scan", "mixture"):
        run = command.folder / "out" / head
        parts = parts_of(run)
        assert (parts["head"], parts["student"]) == (head, "margin")
        assert re.search(r"^student,.*,kept,", (run / "history.csv").read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_the_method_runs_in_the_order_of_its_file(command):
    command("method=scan_flexmatch", "run_dir=out/method", *SMOKE)
    parts = parts_of(command.folder / "out" / "method")
    assert (parts["features"], parts["head"], parts["student"]) == ("moco", "scan", "flexmatch")
    order = ["features", "embeddings", "neighbours", "baseline", "head", "reliable", "student", "map"]
    assert list(parts) == order


def test_a_mistyped_name_is_answered_with_that_of_a_package(command):
    assert "student=marginn is not known (did you mean margin?)" in command("student=marginn", code=2)
