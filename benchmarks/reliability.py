"""What the tests in `tests/reliability` tried and what came of it: `make torture`."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import describe_machine, write_figures

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="how often each method is killed in each way")
    parser.add_argument("--short", action="store_true", help="without the tests that take minutes each")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "reliability.json")
    parser.add_argument(
        "--again",
        action="store_true",
        help="only the tests of the file of figures that failed: their rows are replaced",
    )
    parser.add_argument("tests", nargs="*", default=["tests/reliability"], help="files or folders of tests")
    arguments = parser.parse_args()
    command = f"python benchmarks/reliability.py --kills {arguments.kills}{' --short' if arguments.short else ''}"
    kept: list[dict[str, Any]] = []
    before = 0
    if arguments.again:
        known = json.loads(arguments.json.read_text(encoding="utf-8"))
        kept = [row for row in known["rows"] if not row["failed"]]
        arguments.tests = [row["test"] for row in known["rows"] if row["failed"]]
        if not arguments.tests:
            sys.exit(f"no test of {arguments.json} failed")
        command, before = known["command"], known["seconds"]
    machine, began = describe_machine(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tried = Path(folder) / "tried.json"
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments.tests, "-n", "2",
             "-m", "not slow" if arguments.short else "slow or not slow",
             f"--kills={arguments.kills}", f"--tried={tried}"],
            cwd=ROOT, check=False,
        )  # fmt: skip
        if tried.exists():
            seconds = before + round(time.monotonic() - began)
            rows = kept + json.loads(tried.read_text(encoding="utf-8"))
            figures = {"machine": machine, "command": command, "again": arguments.again, "seconds": seconds}
            write_figures(arguments.json, figures | {"rows": rows})
    sys.exit(ended.returncode)


if __name__ == "__main__":
    main()
