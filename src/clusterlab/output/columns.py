"""The columns of the table of assignments, and its files: CSV and Parquet, written a part at a time.

Names are written in the inert form of `safe_text`, whoever makes the table.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clusterlab.durable import replacing
from clusterlab.errors import UserError

TYPES = {
    "id": pa.string(),
    "split": pa.string(),
    "cluster": pa.int32(),
    "confidence": pa.float32(),
    "margin": pa.float32(),
    "distance": pa.float32(),
    "outlier": pa.bool_(),
    "duplicate_of": pa.string(),
    "name": pa.string(),
    "label": pa.string(),
}
"""In their order; the last two are not always there."""
ROW_GROUP = 2**16
"""Rows that a part of a Parquet file has at least: many small parts make it large and slow to read."""

Add = Callable[[pa.Table], None]


def columns(**values: Any) -> pa.Table:
    """Return the table of these columns; one that is None is left out."""
    return pa.table({name: pa.array(values[name], kind) for name, kind in TYPES.items() if values[name] is not None})


@contextmanager
def writing(path: Path) -> Iterator[Add]:
    """Yield what takes the rows, a part at a time; the file takes its place once the block succeeds.

    Raises:
        UserError: the name ends neither in .csv nor in .parquet.
    """
    form = {".csv": _csv, ".parquet": _parquet}.get(path.suffix.lower())
    if form is None:
        raise UserError(f"{path} has to end in .csv or .parquet, which says how the table is written")
    with replacing(path) as temporary, form(temporary) as add:
        yield add


@contextmanager
def _csv(path: Path) -> Iterator[Add]:
    """UTF-8, a header, every name in quotes, six decimals, `\\n`: the same table gives the same bytes."""
    with path.open("w", encoding="utf-8", newline="\n") as file:

        def add(part: pa.Table) -> None:
            if not file.tell():
                file.write(",".join(part.column_names) + "\n")
            cells = (map(_written(name), part.column(name).to_pylist()) for name in part.column_names)
            file.writelines(",".join(row) + "\n" for row in zip(*cells, strict=True))

        yield add


@contextmanager
def _parquet(path: Path) -> Iterator[Add]:
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.Table] = []

    def flush() -> None:
        nonlocal writer
        if waiting:
            writer = writer or pq.ParquetWriter(path, waiting[0].schema)
            writer.write_table(pa.concat_tables(waiting))
            waiting.clear()

    def add(part: pa.Table) -> None:
        waiting.append(part)
        if sum(table.num_rows for table in waiting) >= ROW_GROUP:
            flush()

    try:
        yield add
        flush()
    finally:
        if writer is not None:
            writer.close()


def _written(name: str) -> Callable[[Any], str]:
    """Return how a value of a column stands in a CSV file."""
    kind = TYPES[name]
    if pa.types.is_floating(kind):
        return "{:.6f}".format
    if pa.types.is_boolean(kind):
        return lambda value: "true" if value else "false"
    return _quoted if pa.types.is_string(kind) and name != "split" else str


def _quoted(text: str) -> str:
    # Always: in quotes a name stays one cell where a spreadsheet splits at other characters than commas.
    escaped = text.replace('"', '""')
    return f'"{escaped}"' if text else ""
