"""What holds of a run that was ended, right then and after the same command again."""

import json
import random

from clusterlab.artifacts import load
from clusterlab.choices import config_folder
from killed import leftovers, run

METHODS = sorted(path.stem for path in (config_folder() / "method").glob("*.yaml"))
OUTPUTS = {
    "assignments.csv", "assignments.parquet", "model", "clusters.png", "config.yaml", "history.csv", "report.html",
    "metrics.json", "clusterlab.log",
}  # fmt: skip


def check_what_lies_there(folder, whole):
    """What has its final name is whole, also right after a kill."""
    for made in folder.glob("outputs/stages/*-*"):
        if made.is_dir() and made.suffix not in (".work", ".tmp"):
            load(made)
    results = whole.results(folder)
    if (results / "assignments.csv").exists():
        assert (results / "assignments.csv").read_bytes() == whole.table
    if (results / "metrics.json").exists():
        assert json.loads((results / "metrics.json").read_text())["acc"] is not None
        assert {path.name for path in results.iterdir()} >= OUTPUTS


def check_end(folder, whole):
    """Start it again, to its end."""
    again = run(folder, *whole.words)
    assert again.code == 0, again.output
    results = whole.results(folder)
    assert {path.name for path in results.iterdir()} == OUTPUTS
    assert (results / "assignments.csv").read_bytes() == whole.table
    assert not leftovers(folder)
    return again


def broken(tmp_path, whole, kills, seed, draw, *, check=lambda ended: None, end=None):
    """Go through `kills` cases, each of which is ended up to three times in a row; `draw(rng)` says when."""
    done = 0
    for case in range(kills):
        rng = random.Random(f"{seed} {whole.method} {case}")
        folder = tmp_path / str(case)
        folder.mkdir()
        told = [f"--kill-seed {seed}, case {case}"]
        try:
            for _ in range(rng.choice((1, 1, 2, 3))):
                when = draw(rng)
                ended = end(folder, when) if end else run(folder, *whole.words, when=when)
                told.append(f"{when}, in stage: {ended.stage}, exit code {ended.code}")
                check(ended)
                check_what_lies_there(folder, whole)
                done += 1
            check_end(folder, whole)
        except BaseException as error:
            error.add_note("; ".join(told))
            raise
    return done
