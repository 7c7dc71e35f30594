"""One rule for the features of every container: the same table arrives as the same columns and values."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from callback_sdk.client.features import prepare_features
from callback_sdk.errors import FeaturesError
from callback_sdk.service.algorithms.features import Features, check, sniff

UTC = dt.timezone.utc
BERLIN = ZoneInfo("Europe/Berlin")
NANOSECOND = pd.Timestamp("2024-05-06 07:08:09.123456789")
FIRST = dt.datetime.fromisoformat("0001-01-01")
LAST = dt.datetime.fromisoformat("9999-12-31T23:59:59.999999")
ROWS = 3
SAME = object()


class Stream:
    """A table that has nothing but the Arrow stream interface."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


def polars(values: dict[str, list[Any]]) -> Any:
    if values["v"] is KINDS["objects that lack members"][0]:
        raise TypeError("polars takes the members of the first object only")
    return pytest.importorskip("polars").DataFrame(values, strict=True, infer_schema_length=None)


def inferred(values: dict[str, list[Any]]) -> pd.DataFrame:
    """Return a DataFrame with inferred column types, unless pandas inferred floats for integers."""
    frame = pd.DataFrame(values)
    for name, column in values.items():
        if frame[name].dtype.kind == "f" and {*map(type, column)} == {int, type(None)}:
            frame[name] = pd.Series(column, dtype="Int64" if min(filter(None, column)) < 2**63 else "UInt64")
    return frame


def written(values: dict[str, list[Any]], *, index: bool) -> bytes:
    file = io.BytesIO()
    frame = inferred(values)
    (frame.set_index(pd.Index([5, 7, 6])) if index else frame).to_parquet(file)
    return file.getvalue()


CONTAINERS: dict[str, Callable[[dict[str, list[Any]]], Any]] = {
    "dict of lists": dict,
    "dict of tuples": lambda values: {name: tuple(column) for name, column in values.items()},
    "dict of objects": lambda values: {name: objects(column) for name, column in values.items()},
    "dict of Series": lambda values: dict(inferred(values).items()),
    "records": lambda values: [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)],
    "DataFrame": inferred,
    "DataFrame of objects": lambda values: pd.DataFrame(
        {name: pd.Series(objects(one), dtype=object) for name, one in values.items()}
    ),
    "filtered DataFrame": lambda values: inferred(values).set_index(pd.Index([5, 7, 6])),
    "DataFrame of Arrow's types": lambda values: inferred(values).convert_dtypes(dtype_backend="pyarrow"),
    "Arrow": lambda values: pa.table(polars(values)),
    "stream": lambda values: Stream(pa.table(polars(values))),
    "dict of Arrow arrays": lambda values: dict(zip(values, pa.table(polars(values)).columns, strict=True)),
    "polars": polars,
    "dict of polars Series": lambda values: {name: polars(values)[name] for name in values},
    "Parquet of pandas": lambda values: written(values, index=False),
    "Parquet of a filtered DataFrame": lambda values: written(values, index=True),
    "JSON": lambda values: json.dumps(values, allow_nan=False).encode(),
}

KINDS: dict[str, tuple[list[Any], Any]] = {
    "booleans": ([True, False, None], SAME),
    "integers": ([1, -(2**63), 2**63 - 1], SAME),
    "unsigned integers": ([0, 1, 2**64 - 1], SAME),
    "integers and none": ([1, None, 3], SAME),
    "large integers and none": ([2**60 + 1, None, -(2**53) - 1], SAME),
    "floats": ([0.1, -0.0, 1e308], SAME),
    "floats and NaN": ([0.5, math.nan, None], [0.5, None, None]),
    "infinities": ([math.inf, -math.inf, 1.5], SAME),
    "integers and floats": ([1, 2.5, 2**53], [1.0, 2.5, float(2**53)]),
    "strings": (["", "Å\u2028\0", None], SAME),
    "strings and NaN": (["a", math.nan, "b"], ["a", None, "b"]),
    "bytes": ([b"\0\xff", b"", None], SAME),
    "datetimes": ([FIRST, LAST, None], SAME),
    "datetimes with a zone": (
        [dt.datetime(2024, 3, 31, 1, 30, tzinfo=UTC), dt.datetime(2020, 1, 1, tzinfo=UTC), None],
        SAME,
    ),
    "datetimes of two zones": (
        [
            dt.datetime(2024, 1, 1, tzinfo=BERLIN),
            dt.datetime(2024, 1, 1, tzinfo=UTC),
            dt.datetime(2024, 7, 1, tzinfo=UTC),
        ],
        SAME,
    ),
    "nanoseconds": (
        [NANOSECOND, pd.NaT, NANOSECOND + pd.Timedelta(1)],
        [NANOSECOND, None, NANOSECOND + pd.Timedelta(1)],
    ),
    "dates": ([dt.date(1, 1, 1), dt.date(9999, 12, 31), None], SAME),
    "times": ([dt.time(0), dt.time(23, 59, 59, 999999), None], SAME),
    "durations": ([dt.timedelta(days=-1, microseconds=1), dt.timedelta(0), None], SAME),
    "decimals": ([Decimal("0.1"), Decimal("-12345678901234567890.12"), None], SAME),
    "lists": ([[1, None], [], None], SAME),
    "lists of lists": ([[["a"], []], None, [["b", None]]], SAME),
    "lists with NaN": ([[0.5, math.nan], [], None], [[0.5, None], [], None]),
    "objects": ([{"x": 1, "y": "a"}, None, {"x": 2, "y": None}], SAME),
    "objects that lack members": ([{"x": 1}, {"y": "a"}, None], [{"x": 1, "y": None}, {"x": None, "y": "a"}, None]),
    "objects in lists": ([[{"x": 1.5}, {"x": None}], [], None], SAME),
    "nothing": ([None, None, None], SAME),
}

UNHOLDABLE: dict[str, list[Any]] = {
    "integers beyond 64 bits": [1, 2**64, 3],
    "negative integers beyond 64 bits": [1, -(2**63) - 1, 3],
    "signed and unsigned integers": [-1, 2**63, 3],
    "integers that are no floats": [0.5, 2**53 + 1, 1.5],
    "strings and numbers": ["a", 1, "b"],
    "booleans and integers": [True, 2, False],
    "decimals and floats": [Decimal(1), 1.5, None],
    "dates and datetimes": [dt.date(2024, 1, 1), FIRST, None],
    "datetimes with and without a zone": [FIRST, dt.datetime(2024, 1, 1, tzinfo=UTC), None],
    "times with a zone": [None, dt.time(1, tzinfo=UTC), None],
    "periods": [None, pd.Period("2024-01", "M"), None],
    "intervals": [None, pd.Interval(0, 1), None],
    "complex numbers": [None, 1j, None],
    "long doubles": [None, np.longdouble(1) / 3, None],
    "decimals with too many digits": [Decimal(1), Decimal("1e80"), None],
    "strings that are not Unicode": ["a", "\ud800", "b"],
    "objects": [None, object(), None],
    "sets": [None, {1}, None],
    "lists of two types": [[1], [2, "x"], [3]],
    "objects of two types": [{"x": 1}, {"x": "a"}, None],
    "objects with other keys than strings": [{"x": 1}, {1: 1}, None],
    "objects without a key": [None, {}, None],
    "large integers in lists": [[1], [0, 2**70], None],
    "moments before the year 1": [None, dt.datetime(1, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo")), None],
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def objects(values: list[Any]) -> Any:
    array = np.empty(len(values), dtype=object)
    for number, value in enumerate(values):
        array[number] = value
    return array


def built(container: str, values: dict[str, list[Any]]) -> Any:
    """Return a table in a container, or skip: not every container can hold everything, or holds it as it was."""
    try:
        found = CONTAINERS[container](values)
    except Exception as error:  # noqa: BLE001 - each library has errors of its own
        pytest.skip(f"{container}: {type(error).__name__}")
    if isinstance(found, bytes):
        Path("file").write_bytes(found)
        return Path("file")
    return found


def arrived(features: Any) -> Features:
    """Send features like the client, and read them like the service."""
    with prepare_features(features) as part:
        data = part.body.read()
    check(data, sniff(data))
    return Features(data, sniff(data))


def plain(value: Any) -> Any:
    """Return a value in a form that doesn't depend on the library."""
    if isinstance(value, np.ndarray):
        value = list(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return None if value is None or value is pd.NA or value is pd.NaT or value != value else value


def seen(features: Features) -> Iterator[dict[str, list[Any]]]:
    """Yield the table as an algorithm sees it, in each way that there is."""
    yield features.to_dict()
    yield features.to_arrow().to_pydict()
    yield {str(name): column.tolist() for name, column in features.to_pandas().items()}
    yield {
        name: list(column) if isinstance(column, list) else column.to_pylist()
        for name, column in features.to_columns().items()
    }


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_container_gives_the_same_table(kind: str, container: str) -> None:
    """For all containers and formats, the algorithm sees the same columns, order and values."""
    values, expected = KINDS[kind]
    expected = values if expected is SAME else expected
    features = arrived(built(container, {"n": list(range(ROWS)), "v": values}))
    for table in seen(features):
        assert list(table) == ["n", "v"]
        assert plain(table["n"]) == list(range(ROWS))
        assert plain(table["v"]) == expected
        assert [value for value in table["v"] if isinstance(value, bool)] == [
            one for one in expected if one is True or one is False
        ]


@pytest.mark.parametrize("container", ["dict of lists", "dict of objects", "records", "DataFrame of objects"])
@pytest.mark.parametrize("kind", UNHOLDABLE)
def test_values_outside_the_supported_types_are_rejected(kind: str, container: str) -> None:
    """All containers raise an error with column and row before anything is sent."""
    features = built(container, {"n": list(range(ROWS)), "v": UNHOLDABLE[kind]})
    with (
        pytest.raises(FeaturesError, match=r"^Column 'v', row 1: .*\. [A-Z].*\.$") as caught,
        prepare_features(features),
    ):
        pass
    assert (caught.value.column, caught.value.row) == ("v", 1)
    assert len(str(caught.value)) < 400


TYPED: dict[str, Callable[[], Any]] = {
    "periods": lambda: pd.DataFrame({"v": pd.period_range("2024", periods=2, freq="M")}),
    "Series of periods": lambda: {"v": pd.Series(pd.period_range("2024", periods=2, freq="M"))},
    "intervals": lambda: pd.DataFrame({"v": pd.interval_range(0, 2)}),
    "categories of intervals": lambda: pd.DataFrame({"v": pd.cut(pd.Series([1, 2, 3]), 2)}),
    "categories of two types": lambda: pd.DataFrame({"v": pd.Categorical([1, "a"])}),
    "complex": lambda: pd.DataFrame({"v": [1j]}),
    "long double": lambda: pd.DataFrame({"v": np.array([1], dtype=np.longdouble)}),
    "year 10000": lambda: pd.DataFrame({"v": np.array(["12000-01-01"], dtype="M8[s]")}),
    "year 10000 in lists": lambda: pa.table({"v": pa.array([[2**38]], pa.list_(pa.timestamp("s")))}),
    "unknown zone": lambda: pa.table({"v": pa.array([0], pa.timestamp("us", "Nowhere/At_All"))}),
    "long duration": lambda: pa.table({"v": pa.array([2**62], pa.duration("s"))}),
    "nanoseconds of a day": lambda: pa.table({"v": pa.array([1], pa.time64("ns"))}),
    "not UTF-8": lambda: pa.table({"v": pa.array([b"\xff"]).view(pa.string())}),
    "months and days": lambda: pa.table({"v": pa.array([(1, 2, 3)], pa.month_day_nano_interval())}),
    "extension": lambda: pa.table({"v": pa.ExtensionArray.from_storage(Tagged(), pa.array([1]))}),
    "two members of one name": lambda: pa.table(
        {"v": pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])}
    ),
    "union": lambda: pa.table(
        {"v": pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])])}
    ),
    "objects of polars": lambda: polars({"v": [object()]}),
    "series of objects of polars": lambda: {"v": polars({"v": [object()]})["v"]},
    "records of NumPy": lambda: {"v": np.array([(1, 2)], dtype=[("x", "i4"), ("y", "i4")])},
    "128-bit integers": lambda: pytest.importorskip("polars").DataFrame(
        {"v": [2**70]}, schema={"v": pytest.importorskip("polars").Int128}
    ),
}


class Tagged(pa.ExtensionType):
    """A user-defined type."""

    def __init__(self) -> None:
        super().__init__(pa.int64(), "tests.tagged")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> Tagged:
        return cls()


@pytest.mark.parametrize("name", TYPED)
def test_a_column_of_an_unsupported_type_is_rejected(name: str) -> None:
    """At submission, with the name of the column."""
    with pytest.raises(FeaturesError, match=r"^Column 'v'") as caught, prepare_features(TYPED[name]()):
        pass
    assert caught.value.column == "v"
    assert caught.value.hint


class Unreadable(list[Any]):
    """A list that raises an error when it is read."""

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("no items")


@pytest.mark.parametrize(
    ("column", "row"),
    [
        # NumPy makes 15:58:10, 1970-01-01 and others of these, modulo 64 bits.
        ([np.timedelta64(213_503_983, "D")], 0),
        ([None, np.timedelta64(2**62, "W")], 1),
        ([None, np.datetime64(213_503_983, "D")], 1),
        ([np.datetime64(584_554, "Y")], 0),
        (np.array([213_503_983], "M8[D]"), 0),
        (np.array([0, 2**40], "M8[Y]"), 1),
        (np.array([2**62], "M8[7ns]"), 0),
        ([np.datetime64(1, "ps")], 0),
        ([None, np.timedelta64(1, "Y")], 1),
        ([np.timedelta64(1)], 0),
        ([pa.scalar(10**18, pa.timestamp("s"))], 0),
        ([[1], Unreadable()], 1),
        (Unreadable([1]), None),
        ([pd.Timedelta(1), dt.timedelta.max], 1),
        (pd.DataFrame({"b": [1]}), None),
    ],
    ids=str,
)
def test_a_value_that_a_library_cannot_convert_is_rejected(column: Any, row: int | None) -> None:
    """Exceptions of the library, and values that it would compute modulo 64 bits, are errors with column and row."""
    with pytest.raises(FeaturesError, match=r"^Column 'v'") as caught, prepare_features({"v": column}):
        pass
    assert (caught.value.column, caught.value.row) == ("v", row)


def test_an_error_of_a_library_stays_the_cause() -> None:
    """So its traceback is available; Ctrl-C during a conversion isn't an error of the features."""
    with pytest.raises(FeaturesError) as caught, prepare_features({"v": [[1], Unreadable()]}):
        pass
    assert isinstance(caught.value.__cause__, RuntimeError)

    class Interrupted(Unreadable):
        def __iter__(self) -> Iterator[Any]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), prepare_features({"v": [[1], Interrupted()]}):
        pass


@pytest.mark.parametrize(
    ("features", "values"),
    [
        ({"v": np.array([3], "M8[25s]")}, [dt.datetime.fromisoformat("1970-01-01T00:01:15")]),
        ({"v": np.array([1, "NaT"], "m8[7D]")}, [dt.timedelta(7), None]),
        ({"v": np.array(["NaT"], "M8")}, [None]),
        ({"v": np.array([["2024-02"]], "M8[M]")}, [[dt.datetime.fromisoformat("2024-02-01")]]),
        (
            {"v": [np.datetime64(-1, "M"), np.datetime64(8029, "Y")]},
            [dt.datetime.fromisoformat("1969-12-01"), dt.datetime.fromisoformat("9999-01-01")],
        ),
        (
            {"v": [np.timedelta64(106_751_991, "D"), np.timedelta64(-5, "ms")]},
            [dt.timedelta(106_751_991), dt.timedelta(0, 0, -5000)],
        ),
        (pd.DataFrame({"v": pd.Categorical(["b", None, "a"])}), ["b", None, "a"]),
        (pd.DataFrame({"v": pd.arrays.SparseArray([0.0, 1.5, math.nan])}), [0.0, 1.5, None]),
        (
            pd.DataFrame({"v": pd.Series([0.0, 1.0], dtype="Float64") / pd.Series([0.0, 1.0], dtype="Float64")}),
            [None, 1.0],
        ),
        ({"v": np.array([0.1, 1], dtype="float32")}, [float(np.float32(0.1)), 1.0]),
        (pd.DataFrame({"v": np.array([0.1, 1], dtype="float32")}), [float(np.float32(0.1)), 1.0]),
        ({"v": np.array(["2024-01-01", "NaT"], dtype="M8[D]")}, [pd.Timestamp("2024-01-01"), None]),
        ({"v": np.array(["2024-01-01T05", "NaT"], dtype="M8[h]")}, [pd.Timestamp("2024-01-01 05:00"), None]),
        (
            {"v": [np.datetime64("2024-01-01T00:00:00.000000001"), np.datetime64("NaT")]},
            [pd.Timestamp("2024-01-01") + pd.Timedelta(1), None],
        ),
        ({"v": np.array([1, "NaT"], dtype="m8[D]")}, [dt.timedelta(1), None]),
        ({"v": np.ma.masked_array([1, 2])}, [1, 2]),
        (pa.table({"v": pa.array(["a", None]).dictionary_encode()}), ["a", None]),
        (pa.table({"v": pa.array([["a"], None], pa.list_(pa.dictionary(pa.int8(), pa.string())))}), [["a"], None]),
        (
            pa.table({"v": pa.array([{"x": [math.nan]}, None], pa.struct([("x", pa.large_list(pa.float32()))]))}),
            [{"x": [None]}, None],
        ),
        (pa.table({"v": pa.array([86_400_000], pa.date64())}), [dt.date(1970, 1, 2)]),
        (pa.table({"v": pa.array([1], pa.timestamp("s"))}), [pd.Timestamp(1, unit="s")]),
        (pa.table({"v": pa.array([[("k", math.nan)]], pa.map_(pa.string(), pa.float64()))}), [[("k", None)]]),
        (pa.table({"v": pa.array([math.nan, 1.5], pa.float16())}), [None, 1.5]),
    ],
    ids=str,
)
def test_types_of_libraries_arrive_as_their_values(features: Any, values: list[Any]) -> None:
    """Categories, sparse and masked arrays and units of time are representations, not values."""
    for table in seen(arrived(features)):
        assert plain(table["v"]) == plain(values)


@pytest.mark.parametrize("as_dict", [True, False])
@pytest.mark.parametrize("kind", ["Categorical", "Enum"])
def test_categories_of_polars_arrive_as_their_values(kind: str, *, as_dict: bool) -> None:
    """In a table, in a dict of Series, and within lists and structs."""
    library = pytest.importorskip("polars")
    category = library.Categorical if kind == "Categorical" else library.Enum(["x", "y"])
    frame = library.DataFrame(
        {"v": ["y", None], "w": [["x", None], None], "s": [{"a": "y"}, {"a": None}]},
        schema={"v": category, "w": library.List(category), "s": library.Struct({"a": category})},
    )
    features = {name: frame[name] for name in frame.columns} if as_dict else frame
    assert arrived(features).to_dict() == frame.to_dict(as_series=False)


@pytest.mark.parametrize(
    "offset",
    [
        dt.timedelta(seconds=29),
        dt.timedelta(microseconds=5),
        dt.timedelta(hours=-1, microseconds=5),
        dt.timedelta(minutes=1),
    ],
    ids=str,
)
def test_offsets_that_arrow_lacks_leave_the_moment_as_it_is(offset: dt.timedelta) -> None:
    """Such a datetime arrives in UTC; pyarrow drops the microseconds of an offset."""
    moments = [dt.datetime(2020, 1, 1, tzinfo=UTC), dt.datetime(2020, 1, 1, tzinfo=dt.timezone(offset))]
    for values in (moments, moments[::-1]):
        assert arrived({"v": values}).to_dict() == {"v": values}


def test_integers_of_128_bits_arrive_if_they_fit_into_64() -> None:
    """polars has such a type, Arrow doesn't."""
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"n": [1.5, None], "v": [1, None]}, schema={"n": pl.Float64, "v": pl.Int128})
    assert arrived(frame).to_dict() == {"n": [1.5, None], "v": [1, None]}
