"""callback_sdk.service.features"""

from __future__ import annotations

import sys
from pathlib import Path

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from callback_sdk.errors import FeaturesError, MissingExtraError
from callback_sdk.service.features import Features, check, sniff

COLUMNS = {"a": [1, 2], "b": ["x", None]}


@pytest.fixture(params=["columns", "records", "parquet"])
def features(request: pytest.FixtureRequest, tmp_path: Path) -> Features:
    """Give the same table from each kind of file."""
    path = tmp_path / "features"
    if request.param == "columns":
        path.write_bytes(orjson.dumps(COLUMNS))
    elif request.param == "records":
        path.write_bytes(orjson.dumps([{"a": 1, "b": "x"}, {"a": 2}]))
    else:
        pa.parquet.write_table(pa.table(COLUMNS), path)
    check(path, sniff(path))
    return Features(path, sniff(path))


def test_every_file_reads_alike(features: Features) -> None:
    """Columns, records and Parquet give the same dict, Arrow table and data frame."""
    assert features.to_dict() == COLUMNS
    assert features.to_arrow().to_pydict() == COLUMNS
    assert features.to_pandas()["a"].tolist() == [1, 2]
    assert pd.isna(features.to_pandas()["b"][1])


def test_json_needs_no_parquet_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON is checked and read as a dict without pyarrow; Parquet names the extra."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    path = tmp_path / "f"
    path.write_bytes(orjson.dumps(COLUMNS))
    check(path, "json")
    assert Features(path, "json").to_dict() == COLUMNS
    path.write_bytes(b"PAR1....PAR1")
    with pytest.raises(MissingExtraError, match=r"callback-sdk\[parquet\]"):
        check(path, "parquet")


@pytest.mark.parametrize(
    ("data", "format_", "words"),
    [
        (b"nothing", "parquet", "don't begin with PAR1"),
        (b"PAR1", "parquet", "footer"),
        (b"PAR1\x00\x00\x00\x00PAR1", "parquet", "footer"),
        (b'{"a": [1}', "json", "neither Parquet nor JSON"),
        (b'{"a": [NaN]}', "json", "neither Parquet nor JSON"),
        (b'{"a": "x"}', "json", "Column 'a' of the features is a JSON string"),
        (b'{"a": [1], "b": []}', "json", "'a' has 1 values and 'b' has 0"),
        (b'[{"a": 1}, null]', "json", "Record 1 of the features is a JSON null"),
        (b"[{}]", "json", "no column"),
        (b"true", "json", "JSON boolean"),
        (b"", "csv", "not known"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, data: bytes, format_: str, words: str) -> None:
    """Each refusal says what is wrong, and where."""
    path = tmp_path / "f"
    path.write_bytes(data)
    with pytest.raises(FeaturesError, match=words):
        check(path, format_)
