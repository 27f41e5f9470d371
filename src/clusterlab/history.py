"""Every scalar of a stage or of a run, as rows of a table."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

COLUMNS = ("stage", "epoch", "step", "metric", "value")
Row = tuple[str, int, int, str, float]


class History:
    """Rows (stage, epoch, step, metric, value), in the order in which they came."""

    def __init__(self, *, stage: str) -> None:
        self.stage = stage
        self.rows: list[Row] = []

    def add(self, epoch: int, step: int, scalars: Mapping[str, float]) -> None:
        """Append one row per scalar."""
        self.rows += [(self.stage, epoch, step, name, value) for name, value in scalars.items()]

    def write(self, path: Path) -> None:
        """Write a CSV file with a header."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows((*row[:4], f"{row[4]:.9g}") for row in self.rows)


def epochs_of(rows: Iterable[Row]) -> Iterator[tuple[int, int, dict[str, float]]]:
    """Yield (epoch, step, scalars by name) of the rows of one stage."""
    for (epoch, step), group in groupby(rows, key=lambda row: (row[1], row[2])):
        yield epoch, step, {row[3]: row[4] for row in group}


def read_history(path: Path) -> list[Row]:
    """Return the rows of a file that `History.write` left."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            (row["stage"], int(row["epoch"]), int(row["step"]), row["metric"], float(row["value"]))
            for row in csv.DictReader(file)
        ]
