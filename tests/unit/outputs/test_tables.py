"""Tables as output files."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from callback_sdk.errors import MissingExtraError, OutputError
from callback_sdk.outputs import output_files

MOMENT = dt.datetime(2026, 1, 2, 3)  # noqa: DTZ001 - a column without a time zone

DATA = {"n": [1, 2, None], "x": [0.1, 1e300, None], "s": ["a", "", None], "t": [MOMENT, None, None]}


class Stream:
    """Any table with the Arrow interface, read once."""

    def __init__(self, table: pa.Table) -> None:
        self._reader = table.to_reader(max_chunksize=1)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._reader.__arrow_c_stream__(requested_schema)


TABLE = pa.table(DATA)

TABLES = [
    pytest.param(lambda: TABLE, id="pyarrow"),
    pytest.param(lambda: pl.DataFrame(DATA), id="polars"),
    pytest.param(lambda: TABLE.to_batches()[0], id="batch"),
    pytest.param(lambda: Stream(TABLE), id="stream"),
    pytest.param(lambda: pd.DataFrame(DATA), id="pandas"),
]


def read(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path)
    return pa.ipc.open_file(path).read_all()


@pytest.mark.parametrize("extension", ["parquet", "arrow", "feather"])
@pytest.mark.parametrize("make", TABLES)
def test_tables_keep_their_values(make: Any, extension: str, tmp_path: Path) -> None:
    """What is read back equals what was given, from any library."""
    (output,) = output_files({f"table.{extension}": make()}, tmp_path)
    rows = read(output.path).to_pylist()
    assert [row["s"] for row in rows] == ["a", "", None]
    assert [row["x"] for row in rows] == [0.1, 1e300, None]
    assert [row["n"] for row in rows] == [1, 2, None]
    assert rows[0]["t"] == MOMENT


@pytest.mark.parametrize("make", TABLES)
def test_csv_files(make: Any, tmp_path: Path) -> None:
    """CSV has a header, and tells null from the empty string."""
    (output,) = output_files({"table.csv": make()}, tmp_path)
    header, *lines = output.body.read().decode().splitlines()
    assert header == '"n","x","s","t"'
    assert lines[1].split(",")[1:3] == ["1e+300", '""']
    assert lines[2] == ",,,"


def test_the_index_of_pandas_is_kept(tmp_path: Path) -> None:
    """pandas reads its frame back with its index, and a file without rows is allowed."""
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="id"))
    (output,) = output_files({"a.parquet": frame}, tmp_path)
    pd.testing.assert_frame_equal(pd.read_parquet(output.path), frame)
    (output,) = output_files({"b.parquet": frame.iloc[:0]}, tmp_path)
    assert len(pd.read_parquet(output.path)) == 0


def test_an_unnamed_index_is_no_column_of_csv(tmp_path: Path) -> None:
    """CSV can't tell an index from a column, so one without a name is an error."""
    with pytest.raises(OutputError, match="index without a name") as caught:
        output_files({"a.csv": pd.DataFrame({"a": [1]}, index=["x"])}, tmp_path)
    assert "rename_axis" in caught.value.hint
    (output,) = output_files({"b.csv": pd.DataFrame({"a": [1]}, index=pd.Index(["x"], name="id"))}, tmp_path)
    assert output.body.read() == b'"a","id"\n1,"x"\n'


@pytest.mark.parametrize("extension", ["parquet", "arrow", "csv"])
def test_categories_of_polars_and_pandas(extension: str, tmp_path: Path) -> None:
    """Categorical columns, which polars exports as dictionaries of views, keep their values."""
    for number, frame in enumerate(
        (
            pl.DataFrame({"c": pl.Series(["u", "v"], dtype=pl.Categorical)}),
            pd.DataFrame({"c": pd.Categorical(["u", "v"])}),
        )
    ):
        (output,) = output_files({f"{number}.{extension}": frame}, tmp_path)
        table = pa.csv.read_csv(output.path) if extension == "csv" else read(output.path)
        assert [row["c"] for row in table.to_pylist()] == ["u", "v"]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("a.xlsx", TABLE, "is of type pyarrow.lib.Table"),
        ("a.parquet", pd.Series([1]), "one column, not a table"),
        ("a.parquet", pl.Series([1]), "one column, not a table"),
        ("a.csv", pa.table({"a": [[1]]}), "can't be written"),
        ("a.parquet", pa.Table.from_arrays([pa.array([1])] * 2, ["a", "a"]), "several columns 'a'"),
        ("a.parquet", pd.DataFrame([[1, 2]], columns=["a", "a"]), "can't be written"),
        ("a.parquet", pd.DataFrame({"a": [1, "x"]}), "can't be written"),
        ("a.parquet", pl.DataFrame({"a": [object()]}), "Python objects"),
    ],
)
def test_tables_that_can_not_be_written(name: str, value: Any, problem: str, tmp_path: Path) -> None:
    """A table that the format can't represent is an error, and no file remains."""
    with pytest.raises(OutputError, match=problem):
        output_files({name: value}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow the error says which extra to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="parquet"):
        output_files({"a.parquet": pl.DataFrame({"a": [1]})}, tmp_path)


def test_tables_of_json_files_are_results(tmp_path: Path) -> None:
    """A table with a name that ends with .json is encoded as in results."""
    (output,) = output_files({"a.json": pd.DataFrame({"a": [1, 2]})}, tmp_path)
    assert output.body.read() == b'{"a":[1,2]}'
