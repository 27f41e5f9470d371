"""Put the metrics of several runs into one file, as benchmarks/results keeps them.

python benchmarks/collect.py outputs/digits/spice --command "python -m clusterlab …" --json PATH [--note TEXT]
"""

import argparse
import json
import statistics
from pathlib import Path

from common import processor, write_figures

DROPPED = {"versions", "warnings", "outliers", "duplicates", "unreadable"}
"""Keys of metrics.json that say nothing about how good or how fast a run was."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to look for metrics.json, at any depth")
    parser.add_argument("--command", required=True, help="what made the runs")
    parser.add_argument("--note", help="anything that a reader should know, such as how busy the machine was")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.rglob("metrics.json"))
    if not paths:
        raise SystemExit(f"{arguments.folder} has no metrics.json below it")
    found = sorted((json.loads(path.read_text(encoding="utf-8")) for path in paths), key=lambda run: run["seed"])
    runs = [{key: value for key, value in run.items() if key not in DROPPED} for run in found]
    about = {"command": arguments.command, "processor": processor(), "versions": found[0]["versions"]}
    write_figures(arguments.json, about | ({"note": arguments.note} if arguments.note else {}) | {"runs": runs})
    for name in ("acc", "seconds"):
        values = [run[name] for run in runs if name in run]
        if values:
            print(f"{name}: {values}, median {statistics.median(values):.4g}")


if __name__ == "__main__":
    main()
