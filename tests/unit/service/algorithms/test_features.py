"""callback_sdk.service.algorithms.features"""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from callback_sdk.errors import FeaturesError, MissingExtraError
from callback_sdk.service.algorithms.features import PARQUET, Features, check, sniff
from tests.unit.service.footers import column, parquet, row_group, schema

COLUMNS = {"a": [1, 2], "b": ["x", None]}

BOMBS = {
    "footer": (parquet(b"\0" * 5_000_000), "footer has 5000001 bytes"),
    "footer that is not there": (b"PAR1\xff\xff\xff\x7fPAR1", "no footer"),
    "unpacked": (parquet(schema([column()]) + row_group(size=2**42, chunks=1)), "take 4398046511104 bytes"),
    "unpacked in all": (parquet(schema([column()]) + row_group(3000, size=2**22, chunks=1)), "take 12582912000 bytes"),
    "repeated value": (parquet(schema([column()]) + row_group(size=9, rows=2**30, chunks=1)), "take 8589934592 bytes"),
    "rows": (parquet(schema([column()], rows=2**40) + row_group(0)), "1099511627776 rows"),
    "fewer than no rows": (parquet(schema([column()], rows=-1) + row_group(0)), "-1 rows"),
    "negative size": (parquet(schema([column()]) + row_group(size=-1, chunks=1)), "row groups that can't be"),
    "chunks that are not there": (parquet(schema([column()]) + row_group(size=1)), "row groups that can't be"),
    "columns": (parquet(schema([column()] * 10_001) + row_group(0)), "10001 columns"),
    "even more columns": (parquet(schema([column()] * 100_000) + row_group(0)), "Exceeded size limit"),
    "row groups": (parquet(schema([column()] * 11) + row_group(10_000)), "11 columns in 10000 row groups"),
    "depth": (
        parquet(schema([column(children=1)] * 15_000 + [column()], children=1) + row_group(0)),
        "Exceeded size limit",
    ),
    "a list that ends early": (parquet(schema([], claimed=10_000) + row_group(0)), "Invalid data"),
    "a list without end": (parquet(schema([], claimed=2**31 - 1) + row_group(0)), "Exceeded size limit"),
    "JSON": (b" " * (64 * 1024**2 + 1), "bytes of JSON, and may have 67108864. Send Parquet"),
    "JSON values": (b'{"a": [' + b"0," * 12_000_000 + b"0]}", "too many values for JSON. Send Parquet"),
    "JSON strings": (b'{"a": [' + b'"",' * 4_000_000 + b"0]}", "too many values"),
    "JSON objects": (b"[" + b"{}," * 2_400_000 + b"{}]", "too many values"),
    "JSON depth": (b"[" * 2_000_000, "nested too deeply"),
    "sparse JSON": (orjson.dumps([{str(n): n} for n in range(4000)]), "4000 records with 4000 columns between them"),
    "JSON columns": (orjson.dumps([{str(n): n for n in range(10_001)}]), "10001 columns between them"),
    "JSON infinity": (b'{"a": [1e999]}', "neither Parquet nor JSON"),
    "JSON name": (b'{"' + b"n" * 1_000_000 + b'": 1}', "Column 'nnn"),
}


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


def test_all_formats_give_the_same_features(features: Features) -> None:
    """Columns, records and Parquet result in the same dict, Arrow table and data frame."""
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
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[parquet\]'"):
        check(path, "parquet")


@pytest.mark.parametrize(
    ("data", "format_", "words"),
    [
        (b"nothing", "parquet", "don't start with PAR1"),
        (b"PAR1", "parquet", "footer"),
        (b"PAR1\x00\x00\x00\x00PAR1", "parquet", "footer"),
        (b'{"a": [1}', "json", "neither Parquet nor JSON"),
        (b'{"a": [NaN]}', "json", "neither Parquet nor JSON"),
        (b'{"a": []}', "json", "no row"),
        (b'{"a": "x"}', "json", "Column 'a' of the features is a JSON string"),
        (b'{"a": [1], "b": []}', "json", "'a' has 1 values and 'b' has 0"),
        (b'[{"a": 1}, null]', "json", "Record 1 of the features is a JSON null"),
        (b"[{}]", "json", "no column"),
        (b"true", "json", "JSON boolean"),
        (b"", "csv", "not known"),
        (b'{"a": [1, 2], "a": [3]}', "json", "'a' twice"),
        (b'[{"a": 1, "b": {"x:y": "\\":", "c": 1, "c": 2}}]', "json", "'c' twice"),
        (b'{"a": [1, 18446744073709551616]}', "json", "Column 'a', row 1: 18446744073709551616 has more than 64 bits"),
        (b'{"a": [[1], [-9223372036854775809]]}', "json", "Column 'a', row 1: -9223372036854775809 has more than 64"),
        (b'{"a": [-1, 9223372036854775808]}', "json", "Column 'a', row 1: 9223372036854775808 has more than 64 bits"),
        (b'{"a": [1, true]}', "json", "Column 'a', row 1: True is of type bool"),
        (b'{"a": ["x", null, 2]}', "json", "Column 'a', row 2: 2 is of type int"),
        (b'{"a": [0.5, 9007199254740993]}', "json", "Column 'a', row 1: 9007199254740993 is among floats"),
        (b'{"a": [{"x": 1}, {"x": "1"}]}', "json", "Column 'a', row 1: '1' is of type str"),
        (b'{"a": [null, {}]}', "json", "Column 'a', row 1: the objects of the column have 0"),
        (b'{"a": [' + b"[" * 21 + b"]" * 21 + b"]}", "json", "Column 'a', row 0: it is nested deeper than 20 levels"),
    ],
)
def test_files_without_a_table_are_rejected(tmp_path: Path, data: bytes, format_: str, words: str) -> None:
    """Each error names the problem and its place."""
    path = tmp_path / "f"
    path.write_bytes(data)
    with pytest.raises(FeaturesError, match=words):
        check(path, format_)


@pytest.mark.parametrize("name", BOMBS)
def test_decompression_bombs_are_rejected(tmp_path: Path, name: str) -> None:
    """Impossible sizes are a short error with a hint."""
    data, words = BOMBS[name]
    path = tmp_path / "f"
    path.write_bytes(data)
    with pytest.raises(FeaturesError) as caught:
        check(path, sniff(path))
    assert words in str(caught.value)
    assert caught.value.hint
    assert len(str(caught.value)) < 500
    assert str(tmp_path) not in str(caught.value)


CHECK_ALL = """
import sys
from pathlib import Path
import psutil, pyarrow.parquet
from callback_sdk.errors import FeaturesError
from callback_sdk.service.algorithms.features import check, sniff

before = psutil.Process().memory_info().rss
for path in map(Path, sys.argv[1:]):
    try:
        check(path, sniff(path))
    except FeaturesError:
        pass
status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) * 1024 - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own peak is read from /proc")
def test_a_rejection_takes_little_memory(tmp_path: Path) -> None:
    """Not more than a few copies of the file."""
    paths = [tmp_path / str(number) for number in range(len(BOMBS))]
    for path, (data, _) in zip(paths, BOMBS.values(), strict=True):
        path.write_bytes(data)
    command = [sys.executable, "-c", CHECK_ALL, *map(str, paths)]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown < 100_000_000


def test_the_unpacked_size_is_counted(tmp_path: Path) -> None:
    """Compressed zeros count with their full size, and nulls with the size that Arrow uses for them."""
    zeros, nulls = tmp_path / "zeros", tmp_path / "nulls"
    pa.parquet.write_table(
        pa.table({"a": pa.array([0.0] * 1_000_000)}), zeros, use_dictionary=False, compression="zstd"
    )
    pa.parquet.write_table(pa.table({"a": pa.nulls(1_000_000, pa.float64())}), nulls)
    for path in (zeros, nulls):
        assert path.stat().st_size < 100_000
        check(path, PARQUET, max_unpacked=9_000_000)
        with pytest.raises(FeaturesError, match="once they are unpacked"):
            check(path, PARQUET, max_unpacked=7_000_000)


def test_json_may_be_as_long_as_is_said(tmp_path: Path) -> None:
    """The limit is the caller's, to the byte."""
    path = tmp_path / "f"
    path.write_bytes(b'{"a": [1]}')
    check(path, "json", max_json=10)
    with pytest.raises(FeaturesError, match="10 bytes of JSON, and may have 9"):
        check(path, "json", max_json=9)


def test_json_that_only_looks_odd_is_taken(tmp_path: Path) -> None:
    """Colons and long digits within strings, long fractions and exponents."""
    columns = {"a:b": ["12:30:00", '"0123456789012345678901": x'], "c": [0.1234567890123456789, 1e300]}
    path = tmp_path / "f"
    path.write_bytes(orjson.dumps(columns))
    check(path, "json")
    assert Features(path, "json").to_dict() == columns


TYPES = {
    "two columns of one name": (pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), "Two columns.* 'a'"),
    "periods": (pa.Table.from_pandas(pd.DataFrame({"a": pd.period_range("2024", periods=1, freq="M")})), "'a'.*period"),
    "intervals": (pa.Table.from_pandas(pd.DataFrame({"a": pd.interval_range(0, 1)})), "'a'.*interval"),
    "index without a name": (
        pa.Table.from_pandas(pd.DataFrame({"a": [1]}, index=["x"])),
        "index .* has values and no name",
    ),
    "depth": (
        pa.table({"a": pa.nulls(1, functools.reduce(lambda kind, _: pa.list_(kind), range(40), pa.int8()))}),
        "deeper",
    ),
}


@pytest.mark.parametrize("name", TYPES)
def test_a_parquet_file_with_unsupported_types_is_rejected(tmp_path: Path, name: str) -> None:
    """The service rejects the same types as the client."""
    table, words = TYPES[name]
    pa.parquet.write_table(table, tmp_path / "f")
    with pytest.raises(FeaturesError, match=words):
        check(tmp_path / "f", PARQUET)


@pytest.mark.parametrize(
    ("frame", "columns"),
    [
        (pd.DataFrame({"v": [1, 2, 3]})[1:], {"v": [2, 3]}),
        (pd.DataFrame({"v": [1, 2]}, index=pd.RangeIndex(4, 8, 2, name="id")), {"id": [4, 6], "v": [1, 2]}),
        (pd.DataFrame({"v": [1, 2]}, index=pd.Index([7, 5], name="id")), {"id": [7, 5], "v": [1, 2]}),
        (pd.DataFrame({"__index_level_0__": [1, 2]}), {"__index_level_0__": [1, 2]}),
    ],
)
def test_a_file_of_pandas_has_the_columns_of_its_table(
    tmp_path: Path, frame: pd.DataFrame, columns: dict[str, list[int]]
) -> None:
    """Those that the client sends for the same DataFrame: row numbers are none, and a named index is."""
    # A folder of this name would become a column, were it part of a data set.
    path = tmp_path / "a=1"
    path.mkdir()
    frame.to_parquet(path / "f")
    check(path / "f", PARQUET)
    features = Features(path / "f", PARQUET)
    assert features.to_dict() == columns
    assert list(features.to_pandas().columns) == list(columns)


def test_integers_stay_exact_beside_missing_values(tmp_path: Path) -> None:
    """pandas itself would convert them to floats."""
    path = tmp_path / "f"
    path.write_bytes(b'{"a": [9007199254740993, null], "b": [1, null]}')
    frame = Features(path, "json").to_pandas()
    assert (frame["a"][0], frame["a"].dtype, frame["b"].dtype) == (9007199254740993, "Int64", "float64")


def test_a_value_that_can_not_be_read_names_its_column(tmp_path: Path) -> None:
    """Only the footer is validated at submission; the error is raised by the run."""
    broken = pa.array([b"\xff"]).view(pa.string())
    pa.parquet.write_table(pa.table({"a": broken}), tmp_path / "f")
    check(tmp_path / "f", PARQUET)
    with pytest.raises(FeaturesError, match=r"Column 'a': .*UTF8"):
        Features(tmp_path / "f", PARQUET).to_dict()
    data = bytearray((tmp_path / "f").read_bytes())
    data[4:40] = bytes(36)
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(FeaturesError, match="can't be read"):
        Features(tmp_path / "f", PARQUET).to_pandas()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's limit on memory is Linux's")
def test_reading_is_bounded(tmp_path: Path) -> None:
    """A dictionary with one long text for all rows expands to gigabytes, which the footer doesn't show."""
    indices = pa.repeat(pa.scalar(0, pa.int32()), 1_000_000)
    table = pa.table({"a": pa.DictionaryArray.from_arrays(indices, pa.array(["x" * 10_000]))})
    pa.parquet.write_table(table, tmp_path / "f", store_schema=False, row_group_size=1_000_000)
    check(tmp_path / "f", PARQUET)
    with pytest.raises(FeaturesError, match=r"take more than 1.0 MB of memory once they are unpacked. Send fewer"):
        Features(tmp_path / "f", PARQUET, max_bytes=1e6).to_pandas()
    assert len(bytes(10**9)) == 10**9


def test_a_wide_table_is_accepted(tmp_path: Path) -> None:
    """Thousands of columns and a hundred row groups are legitimate."""
    path = tmp_path / "f"
    pd.DataFrame({f"sensor {number}": [0.5] for number in range(3000)}).to_parquet(path)
    check(path, PARQUET)
    pd.DataFrame({f"sensor {number}": [0.5] * 100 for number in range(50)}).to_parquet(path, row_group_size=1)
    check(path, PARQUET)


DAMAGE = """
import sys
from pathlib import Path
from callback_sdk.errors import FeaturesError
from callback_sdk.service.algorithms.features import check

path = Path(sys.argv[1])
whole = path.read_bytes()
refused = 0
for position in range(len(whole) - 8 - int.from_bytes(whole[-8:-4], "little"), len(whole) - 8):
    for bit in range(8):
        data = bytearray(whole)
        data[position] ^= 1 << bit
        path.write_bytes(data)
        try:
            check(path, "parquet")
        except FeaturesError:
            refused += 1
print(refused)
"""


def test_no_damaged_footer_ends_the_process(tmp_path: Path) -> None:
    """With any flipped bit, the file is rejected or accepted."""
    path = tmp_path / "f"
    nested = pa.table({"a": [1, None], "b": ["x", "y"], "c": [[1], []], "d": [{"e": 1.0}, None]})
    pa.parquet.write_table(nested, path, store_schema=False)
    result = subprocess.run([sys.executable, "-c", DAMAGE, path], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert int(result.stdout) > 100
