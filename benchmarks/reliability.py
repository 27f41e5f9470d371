"""What the tests in `tests/reliability` tried and what came of it: `make torture`."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import describe_machine, write_figures

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="how often each method is killed in each way")
    parser.add_argument("--short", action="store_true", help="without the tests that take minutes each")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "reliability.json")
    parser.add_argument("tests", nargs="*", default=["tests/reliability"], help="files or folders of tests")
    arguments = parser.parse_args()
    command = f"python benchmarks/reliability.py --kills {arguments.kills}{' --short' if arguments.short else ''}"
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
            seconds, rows = round(time.monotonic() - began), json.loads(tried.read_text(encoding="utf-8"))
            write_figures(arguments.json, {"machine": machine, "command": command, "seconds": seconds, "rows": rows})
    sys.exit(ended.returncode)


if __name__ == "__main__":
    main()
