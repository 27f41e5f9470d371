"""All rows of the table of measurements, one script after the other, into one file of this machine.

    python benchmarks/all_rows.py [--folder DIR] [--trial]

Each script has a process of its own. A row below its ratio is marked in the table and ends nothing. `growth.py`, where
there is one, comes last.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import cores, file_stem, processor, write_figures
from rows import begin, show

HERE = Path(__file__).parent
SCRIPTS = (
    "augmentation",
    "simclr_step",
    "scan_epochs",
    "spice_head",
    "neighbours",
    "scan_selection",
    "scores",
    "reliable",
)
"""In the order of the table, but that rows without a ratio to reach come after the others."""
OPTIONS = {"neighbours": ["--largest", "0"], "reliable": ["--images", "20000"]}
"""That leave out what is in no row, or takes minutes."""


def figures_of(script: str, *options: str) -> dict[str, Any]:
    """What a script writes, from a process of its own."""
    print(f"\n{script}.py", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "figures.json")
        subprocess.run([sys.executable, HERE / f"{script}.py", *options, "--json", path], check=True)
        return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=HERE / "results", help="for the file (default: results beside)")
    parser.add_argument("--trial", action="store_true", help="as little work as can be, one turn, without growth.py")
    arguments = parser.parse_args()
    start = time.perf_counter()
    rows, growth = [], None
    trial = ["--trial", "--turns", "1"] if arguments.trial else []
    for script in SCRIPTS:
        rows += figures_of(script, *OPTIONS.get(script, []), *trial)["rows"]
    rows.sort(key=lambda row: row["at_least"] is None)
    if not arguments.trial and (HERE / "growth.py").exists():
        growth = {name: value for name, value in figures_of("growth").items() if name != "machine"}
    print("\nall rows")
    machine = begin()
    show(rows)
    figures = {
        "machine": machine,
        "command": "make benchmark",
        "seconds": round(time.perf_counter() - start),
        "rows": rows,
        "growth": growth,
    }
    write_figures(arguments.folder / f"{file_stem(f'{processor()} {cores()} cores')}.json", figures)


if __name__ == "__main__":
    main()
