"""The table of a sweep: for each combination of settings, mean and deviation over its seeds.

`sweep.csv` has a row for each combination, `sweep.html` the runs, too. The page holds no script, fetches nothing, and
what it shows of the command's words is inert, as in a run's report.
"""

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from clusterlab.durable import write_text
from clusterlab.output import words
from clusterlab.output.safe_text import safe_text
from clusterlab.output.templates import template
from clusterlab.sweep_records import Record

SCORES = (
    ("acc", "accuracy"),
    ("nmi", "NMI"),
    ("ari", "ARI"),
    ("silhouette", "silhouette"),
    ("used_clusters", "clusters in use"),
    ("seconds", "seconds"),
)
"""(key in metrics.json, name); seconds are those of all its stages, whoever ran them."""
APART = ("seed", "run_dir")
"""Settings by which no rows are made: what differs in nothing else is the same thing tried again."""


@dataclass(frozen=True)
class Spread:
    """Mean and sample deviation (n − 1) over n runs."""

    mean: float
    deviation: float | None
    """None for a single run."""


@dataclass(frozen=True)
class Row:
    """One combination of settings."""

    settings: Mapping[str, str]
    runs: Sequence[Record]
    """Those that are done."""
    failed: Sequence[Record]
    scores: Mapping[str, Spread]
    """Without those that no run has."""


@dataclass(frozen=True)
class SweepTable:
    """The rows, in the order of their first jobs."""

    rows: Sequence[Row]
    settings: Sequence[str]
    """All that the command sets, but seed and run_dir."""
    varied: Sequence[str]
    """Those of them that vary."""
    scores: Sequence[tuple[str, str]]
    """Those of SCORES that some run has."""


def tabulate(records: Sequence[Record]) -> SweepTable:
    """Group the jobs by their settings."""
    different = {record.run_dir: record for record in reversed(records)}  # a search may try the same settings twice
    groups: dict[tuple[tuple[str, str], ...], list[Record]] = {}
    for record in sorted(different.values(), key=lambda record: record.number):
        groups.setdefault(tuple(sorted(_settings(record).items())), []).append(record)
    rows = [_row(_settings(group[0]), group) for group in groups.values()]
    names = list(dict.fromkeys(name for row in rows for name in row.settings))
    varied = {name for record in records for name in record.varied}
    return SweepTable(
        rows=rows,
        settings=names,
        varied=[name for name in names if name in varied],
        scores=[(key, name) for key, name in SCORES if any(key in row.scores for row in rows)],
    )


def write_table(table: SweepTable, folder: Path) -> None:
    """Write sweep.csv and sweep.html."""
    write_text(folder / "sweep.csv", as_csv(table))
    write_text(folder / "sweep.html", render(table, folder))


def as_csv(table: SweepTable) -> str:
    """Return a line for each row; words in quotes and inert, six decimals."""
    columns = [f"{key}_{part}" for key, _ in table.scores for part in ("mean", "deviation")]
    lines = [[*(_quoted(name) for name in table.settings), "seeds", "failed", *columns]]
    for row in table.rows:
        spreads = [row.scores.get(key) for key, _ in table.scores]
        numbers = [value for spread in spreads for value in (_mean(spread), _deviation(spread))]
        settings = [_quoted(row.settings.get(name, "")) for name in table.settings]
        lines.append([
            *settings, str(len(row.runs)), str(len(row.failed)),
            *("" if number is None else f"{number:.6f}" for number in numbers),
        ])  # fmt: skip
    return "".join(",".join(line) + "\n" for line in lines)


def as_text(table: SweepTable) -> str:
    """Return the table for the terminal: what varies, and mean ± deviation."""
    head = [*table.varied, "seeds", "failed", *(key for key, _ in table.scores)]
    cells = [head]
    for row in table.rows:
        settings = [_safe(row.settings.get(name, "")) for name in table.varied]
        scores = [_in_words(row.scores.get(key)) for key, _ in table.scores]
        cells.append([*settings, str(len(row.runs)), str(len(row.failed)), *scores])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    left = len(table.varied)
    lines = []
    for line in cells:
        settings = [cell.ljust(width) for cell, width in zip(line[:left], widths[:left], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(line[left:], widths[left:], strict=True)]
        lines.append("  ".join([*settings, *numbers]))
    return "\n".join(lines)


def render(table: SweepTable, folder: Path) -> str:
    """Return the page; the runs are linked relative to `folder`."""
    done = [(row, run) for row in table.rows for run in row.runs]
    constant = {name: row.settings[name] for row in table.rows for name in row.settings if name not in table.varied}
    return template("sweep.html.jinja", inert=_safe).render(
        table=table,
        constant=constant,
        runs=[(row, run, _link(run, folder)) for row, run in sorted(done, key=lambda found: found[1].number)],
        failed=[run for row in table.rows for run in row.failed],
        shown=_shown,
        in_words=_in_words,
    )


def _row(settings: Mapping[str, str], group: Sequence[Record]) -> Row:
    runs = [record for record in group if record.error is None]
    found = {key: [run.metrics[key] for run in runs if run.metrics.get(key) is not None] for key, _ in SCORES}
    scores = {
        key: Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)
        for key, values in found.items()
        if values
    }
    return Row(settings, runs, [record for record in group if record.error is not None], scores)


def _settings(record: Record) -> dict[str, str]:
    pairs = (word.lstrip("+~").partition("=") for word in record.words)
    return {name: value for name, _, value in pairs if name not in APART}


def _mean(spread: Spread | None) -> float | None:
    return None if spread is None else spread.mean


def _deviation(spread: Spread | None) -> float | None:
    return None if spread is None else spread.deviation


def _in_words(spread: Spread | None) -> str:
    if spread is None:
        return "–"
    return _shown(spread.mean) + ("" if spread.deviation is None else f" ± {_shown(spread.deviation)}")


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    whole = value == int(value) and abs(value) > 1  # a count
    return words.decimal(value) if abs(value) < 10 and not whole else f"{value:.4g}"


def _link(run: Record, folder: Path) -> str:
    return quote(os.path.relpath(Path(run.run_dir, "report.html"), folder))


def _quoted(text: str) -> str:
    escaped = _safe(text).replace('"', '""')
    return f'"{escaped}"' if text else ""


def _safe(text: str) -> str:
    try:
        float(text)
    except ValueError:
        return safe_text(text)
    return text  # a number is no formula, with a minus, too
