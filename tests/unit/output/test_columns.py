from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clusterlab.errors import UserError
from clusterlab.output.columns import ROW_GROUP, columns, writing


def part(start: int, count: int) -> pa.Table:
    numbers = range(start, start + count)
    return columns(
        id=[f"{i}.png" for i in numbers], split=["new"] * count, cluster=[i % 3 for i in numbers],
        confidence=[1 / (1 + i % 7) for i in numbers], margin=[0.25] * count, distance=[0.5] * count,
        outlier=[i % 2 == 0 for i in numbers], duplicate_of=[""] * count, name=None, label=None,
    )  # fmt: skip


@pytest.mark.parametrize("end", ["csv", "parquet"])
def test_a_file_written_in_parts_is_the_file_written_at_once(tmp_path: Path, end: str):
    for name, parts in {"once": [part(0, 30)], "parts": [part(0, 7), part(7, 0), part(7, 23)]}.items():
        with writing(tmp_path / f"{name}.{end}") as add:
            for rows in parts:
                add(rows)
    assert (tmp_path / f"once.{end}").read_bytes() == (tmp_path / f"parts.{end}").read_bytes()


def test_small_parts_of_a_parquet_file_are_put_together_and_not_kept(tmp_path: Path):
    with writing(tmp_path / "a.parquet") as add:
        for start in range(0, 2 * ROW_GROUP + 1000, 1000):
            add(part(start, 1000))
    groups = pq.ParquetFile(tmp_path / "a.parquet").metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [66_000, 66_000, 1_000]
    assert pd.read_parquet(tmp_path / "a.parquet")["id"].tolist() == [f"{i}.png" for i in range(133_000)]


@pytest.mark.parametrize("end", ["csv", "parquet"])
def test_an_error_leaves_the_file_that_was_there(tmp_path: Path, end: str):
    path = tmp_path / f"a.{end}"
    path.write_text("before")

    def fails() -> None:
        with writing(path) as add:
            add(part(0, 3))
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fails()
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [(path.name, "before")]


@pytest.mark.parametrize("name", ["a.xlsx", "a", "csv"])
def test_a_name_that_says_no_form_is_one_clear_line(tmp_path: Path, name: str):
    with pytest.raises(UserError, match=r"has to end in .csv or .parquet"), writing(tmp_path / name):
        pass
