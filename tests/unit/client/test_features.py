"""callback_sdk.client.features: encoding of features and parameters."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from callback_sdk.client.features import JSON, PARQUET, parameters_file, prepare_features
from callback_sdk.errors import EncodingError, FeaturesError, MissingExtraError, ParametersError

FRAME = pd.DataFrame({"v": [1.0, 2.0, 3.0, 4.0]})


def as_json(features: Any) -> Any:
    with prepare_features(features) as file:
        assert (file.name, file.filename, file.content_type) == ("features", "features.json", JSON)
        return json.loads(file.body.read())


def as_table(features: Any, **options: Any) -> pa.Table:
    with prepare_features(features, **options) as file:
        assert (file.name, file.filename, file.content_type) == ("features", "features.parquet", PARQUET)
        return pq.read_table(io.BytesIO(file.body.read()))


def test_a_dict_of_columns_is_json() -> None:
    """Columns may be lists, tuples, ranges, NumPy arrays or pandas series."""
    assert as_json(
        {
            "a": [1, 2],
            "b": (0.5, None),
            "c": np.array([3, 4])[::-1],
            "d": range(2),
            "e": pd.Series(["x", "y"]),
        }
    ) == {"a": [1, 2], "b": [0.5, None], "c": [4, 3], "d": [0, 1], "e": ["x", "y"]}


def test_a_dict_with_values_outside_json_is_sent_as_parquet() -> None:
    """Infinities, dates and other values that JSON would change, and Arrow columns."""
    for column in ([1.0, float("inf")], [dt.date(2024, 1, 1)] * 2, [b"x", None], pa.array([1, 2])):
        assert as_table({"a": [1, 2], "b": column}).column_names == ["a", "b"]


def test_a_dict_of_scalars_is_one_row() -> None:
    """As in older scripts, single values make a table of one row."""
    assert as_json({"a": 1, "b": "text", "c": np.float64(2.5), "d": None}) == {
        "a": [1],
        "b": ["text"],
        "c": [2.5],
        "d": [None],
    }


def test_records_are_json() -> None:
    """A list of dicts is sent as columns; missing members are null."""
    assert as_json([{"a": 1}, {"b": "x", "a": 2}]) == {"a": [1, 2], "b": [None, "x"]}


def test_missing_numbers_become_null() -> None:
    """NaN, which JSON doesn't have, is null."""
    assert as_json({"a": [1.0, float("nan")]}) == {"a": [1.0, None]}


def test_a_dataframe_becomes_parquet() -> None:
    """A DataFrame arrives with its types, and an index that has a name as its first columns."""
    index = pd.MultiIndex.from_arrays([pd.date_range("2024-01-01", periods=2), ["x", "y"]], names=["when", "who"])
    frame = pd.DataFrame({"t": [1.5, 2.5]}, index=index)
    back = as_table(frame)
    assert back.column_names == ["when", "who", "t"]
    pd.testing.assert_frame_equal(back.to_pandas(), frame.reset_index(), check_dtype=False)
    assert as_table(dict(frame.items())).to_pydict() == back.to_pydict()


@pytest.mark.parametrize("frame", [FRAME[FRAME.v > 1], FRAME[FRAME.v != 2], FRAME.sample(frac=1), FRAME.iloc[::-1]])
def test_row_numbers_are_not_a_column(frame: pd.DataFrame) -> None:
    """A filtered table has the same columns as the whole table."""
    assert as_table(frame).to_pydict() == {"v": frame["v"].tolist()}
    assert as_json({"v": frame["v"]}) == {"v": frame["v"].tolist()}
    concatenated = pd.concat([frame, frame])
    assert as_table(concatenated).column_names == ["v"]


def test_a_named_index_is_a_column() -> None:
    """Even a RangeIndex, which pandas would store as its bounds only."""
    frame = FRAME.rename_axis("id")
    assert as_table(frame).column_names == ["id", "v"]
    assert as_table(frame[frame.v > 1]).column_names == ["id", "v"]


@pytest.mark.parametrize(
    "features",
    [
        pd.DataFrame({"v": [1, 2]}, index=pd.date_range("2024-01-01", periods=2)),
        pd.DataFrame({"v": [1, 2]}, index=["x", "y"]),
        {"v": pd.Series([1, 2], index=["x", "y"]), "w": [3, 4]},
        pd.DataFrame({"v": [1]}, index=pd.MultiIndex.from_tuples([(1, "x")])),
    ],
)
def test_an_index_with_values_needs_a_name(features: Any) -> None:
    """Its values aren't lost, and the column gets no invented name."""
    with (
        pytest.raises(FeaturesError, match=r"values and no name.*rename_axis"),
        prepare_features(features),
    ):
        pass


def test_series_of_other_indexes_are_not_joined() -> None:
    """Their rows belong together by their labels, which pandas can join, and not by their places."""
    first = pd.Series([1, 2, 3], index=["mon", "tue", "wed"])
    features = {"force": first, "speed": pd.Series([3, 2, 1], index=["mon", "wed", "tue"])}
    message = r"Column 'speed', row 1: its index has 'wed', and that of 'force' has 'tue'.*DataFrame\(features\)"
    with pytest.raises(FeaturesError, match=message) as caught, prepare_features(features):
        pass
    assert (caught.value.column, caught.value.row) == ("speed", 1)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (pd.DataFrame([[1, 2]], columns=[0, "0"]), "column name 0 is of type int.*astype"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "Two columns have the name 'a'"),
        (pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), "Two columns have the name 'a'"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), "type tuple.*Join the levels"),
        (pd.DataFrame({"a": [1]}, index=pd.Index([5], name="a")), "Two columns have the name 'a'"),
        (pd.DataFrame({"a": [1]}, index=pd.Index([5], name=0)), "column name 0 is of type int"),
        ({"\ud800": [1]}, "not valid Unicode"),
        ([{"a": 1}, {None: 1}], "column name None is of type NoneType"),
        (pd.DataFrame(index=[1, 3]), "no columns"),
    ],
)
def test_column_names_are_unique_strings(features: Any, message: str) -> None:
    """In all containers."""
    with pytest.raises(FeaturesError, match=message), prepare_features(features):
        pass


def test_an_arrow_table_becomes_parquet() -> None:
    """Tables and record batches are written as they are."""
    table = pa.table({"a": [1, 2], "b": ["x", "y"]})
    assert as_table(table).equals(table)
    assert as_table(table.to_batches()[0]).equals(table)


def test_any_object_with_an_arrow_stream_is_a_table() -> None:
    """Data frames of other libraries need only the Arrow stream interface."""

    class Frame:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return pa.table({"a": [1]}).__arrow_c_stream__(requested_schema)

    assert as_table(Frame()).to_pydict() == {"a": [1]}


def test_parquet_is_written_with_the_codec_that_was_asked_for() -> None:
    """`compression` is Parquet's codec."""
    with prepare_features(pa.table({"a": [1]}), compression="gzip") as file:
        metadata = pq.read_metadata(io.BytesIO(file.body.read()))
    assert metadata.row_group(0).column(0).compression == "GZIP"


def test_an_unknown_codec_is_an_error() -> None:
    """A codec that doesn't exist is named."""
    with (
        pytest.raises(FeaturesError, match=r"(?i)shrink"),
        prepare_features(pa.table({"a": [1]}), compression="shrink"),
    ):
        pass


def test_a_parquet_file_is_sent_unchanged(tmp_path: Path) -> None:
    """Its content is detected regardless of its name."""
    path = tmp_path / "data.json"
    pq.write_table(pa.table({"a": [1]}), path)
    assert as_table(path).to_pydict() == {"a": [1]}
    assert as_table(str(path)).to_pydict() == {"a": [1]}


def test_a_json_file_is_sent_as_it_is(tmp_path: Path) -> None:
    """Blanks before the JSON don't matter."""
    path = tmp_path / "data.parquet"
    path.write_text('\n  {"a": [1]}')
    assert as_json(path) == {"a": [1]}


def test_a_path_is_not_read_into_memory(tmp_path: Path) -> None:
    """The body of a file is a reference to it."""
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.write(b"[")
        file.truncate(1 << 34)
    with prepare_features(path) as form_file:
        assert form_file.body.size == 1 << 34


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"a": [1, 2], "b": [1]}, r"different numbers of rows: 'a' has 2, 'b' has 1"),
        ({f"c{n}": [0] * n for n in range(1, 30)}, "and 19 more"),
        ({"a": [1], "b": 2, "c": "x"}, "'b', 'c' are not"),
        ({"a": {"0": 1}}, r"Column 'a' is a dict.*to_dict\('list'\)"),
        ({1: [1]}, "column name 1 is of type int"),
        ({}, "no columns"),
        ({"a": [], "b": []}, "no rows"),
        ([], "no records"),
        ([{}], "no columns"),
        ([{"a": 1}, 7], "Record 1 .* type int"),
        ([[1, 2]], "Record 0 .* type list"),
        ([{"a": 1}, {2: 1}], "column name 2"),
        ({"a": [object()]}, "Column 'a', row 0: a value of type builtins.object"),
        (pd.DataFrame(), "no columns"),
        (pd.DataFrame({"a": []}), "no rows"),
        (pd.DataFrame({"a": [1, "x"]}), "Column 'a', row 1: 'x' is of type str, and the column began with int"),
        ([{str(row): row} for row in range(4000)], "4000 records with 4000 columns between them"),
        (pa.table({"a": pa.array([], pa.int64())}), "no rows"),
        (None, "type NoneType"),
        (7, "type int"),
        (b"PAR1", "type bytes.*path"),
        (np.zeros((2, 2)), r"numpy\.ndarray are not a table.*Name its columns"),
        (pd.Series([1]), "Series are not a table.*to_frame"),
        (iter([{"a": 1}]), "list_iterator"),
        (({"a": 1} for _ in range(2)), r"generator.*list\(features\)"),
    ],
)
def test_features_that_are_not_a_table_are_an_error(features: Any, message: str) -> None:
    """Each error names the cause and has a hint."""
    with pytest.raises(FeaturesError, match=message), prepare_features(features):
        pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a,b\n1,2\n", "neither Parquet nor JSON.*read_csv"),
        (b"PAR1" + b"\0" * 50, "truncated"),
        (b"PAR1PAR1", "truncated"),
        (b"\x1f\x8b\x08...", "gzip"),
        (b'\xef\xbb\xbf{"a": [1]}', "byte order mark"),
        ('{"a": [1]}'.encode("utf-16"), "UTF-16"),
        (b"\0\0\0", "neither"),
        (b"   ", "neither"),
    ],
)
def test_a_file_with_something_else_is_an_error(content: bytes, message: str, tmp_path: Path) -> None:
    """The content is looked at before anything is sent."""
    path = tmp_path / "features.parquet"
    path.write_bytes(content)
    with pytest.raises(FeaturesError, match=message), prepare_features(path):
        pass


def test_a_missing_file_is_named_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a relative path, the error has the absolute path too."""
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(FeaturesError, match=f"data.parquet doesn't exist.*{tmp_path}/data.parquet"),
        prepare_features("data.parquet"),
    ):
        pass


def test_a_directory_and_a_pipe_are_rejected(tmp_path: Path) -> None:
    """Neither is opened, so that a pipe without a writer can't block."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FeaturesError, match="is a directory"), prepare_features(tmp_path):
        pass
    with pytest.raises(FeaturesError, match="not a regular file"), prepare_features(tmp_path / "pipe"):
        pass


@pytest.mark.parametrize("text", ['{"a": [1]}', "[" * 5000, "x" * 5000, "a\0b"])
def test_a_string_that_is_not_a_path_is_an_error(text: str) -> None:
    """Strings with JSON, or with characters that a path can't contain, raise an error of this package."""
    with pytest.raises(FeaturesError, match="path"), prepare_features(text):
        pass


def test_a_table_needs_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the error names the extra."""
    frame = pd.DataFrame({"a": [1]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[parquet\]'"), prepare_features(frame):
        pass


def test_neither_pandas_nor_pyarrow_is_loaded_for_json() -> None:
    """Plain features need no library but orjson."""
    code = (
        "import sys; from callback_sdk.client.features import prepare_features\n"
        "with prepare_features({'a': [1]}) as file: print(file.body.size)\n"
        "sys.exit(bool({'pandas', 'pyarrow', 'numpy'} & set(sys.modules)))"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )


@dataclasses.dataclass
class Row(dict[str, Any]):
    """A dict with a field beside its items."""

    name: str = "north"


@dataclasses.dataclass
class Values(list[Any]):
    """A list of values."""

    unit: str = "kN"


def row(**members: Any) -> Row:
    made = Row()
    made.update(members)
    return made


def values(*items: Any) -> Values:
    made = Values()
    made.extend(items)
    return made


@pytest.mark.parametrize(
    ("table", "place"),
    [
        (row(a=[1]), "The features"),
        (values({"a": 1}), "The features"),
        ([row(a=1)], "Record 0 of the features"),
        ([{"a": 1}, row(a=1)], "Record 1 of the features"),
        ({"a": values(1)}, "Column 'a'"),
        ({"a": [values(1)]}, "Column 'a', row 0"),
        ({"a": [[1], [row(b=1)]]}, "Column 'a', row 1"),
        ({"a": pd.Series([row(b=1)])}, "Column 'a', row 0"),
        (pd.DataFrame({"a": pd.Series([values(1)])}), "Column 'a', row 0"),
    ],
)
def test_a_dataclass_derived_from_dict_or_list_is_rejected(table: Any, place: str) -> None:
    """Its items or its fields would be lost silently, as in results."""
    with pytest.raises(FeaturesError, match=f"^{re.escape(place)}.* has fields and is a (dict|list)"):
        as_json(table)


def test_parameters_with_fields_beside_their_items_are_refused() -> None:
    """Also inside of them."""
    for parameters in (row(a=1), {"a": values(1)}):
        with pytest.raises(EncodingError, match="has fields and is a"):
            parameters_file(parameters)


def test_parameters_are_a_dict_or_a_json_file(tmp_path: Path) -> None:
    """Both become the part `parameters`."""
    path = tmp_path / "parameters.json"
    path.write_text('{"m": 5}')
    for given in ({"m": 5}, path, str(path)):
        file = parameters_file(given)  # type: ignore[arg-type]
        assert (file.name, file.filename, json.loads(file.body.read())) == (
            "parameters",
            "parameters.json",
            {"m": 5},
        )


@pytest.mark.parametrize("number", [float("nan"), np.float64("-inf"), np.datetime64("NaT")], ids=repr)
def test_parameters_that_would_become_null_are_an_error(number: Any) -> None:
    """An algorithm would read None instead of an infinite limit."""
    with pytest.raises(EncodingError, match=r"parameters\.limits\[1\]"):
        parameters_file({"limits": [0, number]})


def test_parameters_that_json_cannot_hold_are_an_error(tmp_path: Path) -> None:
    """The error names the path to the value."""
    with pytest.raises(EncodingError, match=r"parameters.a\[1\]"):
        parameters_file({"a": [1, object()]})
    with pytest.raises(ParametersError, match="Parameters of type list"):
        parameters_file([1])  # type: ignore[arg-type]
    pq.write_table(pa.table({"a": [1]}), tmp_path / "p")
    with pytest.raises(ParametersError, match="parameters is Parquet"):
        parameters_file(tmp_path / "p")
