"""Rules about the repository as a whole."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, text=True)
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_is_larger_than_a_megabyte():
    assert [path for path in tracked() if path.stat().st_size > 1_000_000] == []


def test_modules_stay_short():
    long = [p for p in tracked() if p.suffix == ".py" and len(p.read_text(encoding="utf-8").splitlines()) > 300]
    assert long == []


def test_nothing_is_monitored_that_looks_at_labels():
    for path in tracked():
        if path.suffix in {".py", ".yaml"} and "tests" not in path.parts:
            assert not re.search(r"monitor\W+eval/", path.read_text(encoding="utf-8")), path
