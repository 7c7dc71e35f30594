"""Features as an Arrow table, normalized so that it doesn't depend on the container that it comes from.

This implements docs/features.md. Client and service share it, so that features are the same in every transfer format.
pyarrow is imported where it is used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from callback_sdk.errors import FeaturesError, MissingExtraError
from callback_sdk.features.column_errors import column_error, short_repr, translate_errors
from callback_sdk.features.columns import Column, Kind, check_names

if TYPE_CHECKING:
    import pyarrow

_NAMELESS = re.compile(r"__index_level_[0-9]+__")
"""Column name that pandas gives to an unnamed index in Arrow and Parquet."""

_MAX_DEPTH = 32
"""Maximum nesting depth of a type. pyarrow processes types recursively."""

_PLAIN = frozenset(
    [
        "null",
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "halffloat",
        "float",
        "double",
        "string",
        "large_string",
        "binary",
        "large_binary",
        "date32[day]",
        "time32[s]",
        "time32[ms]",
        "time64[us]",
    ]
)
"""Types that are not converted."""

_CHANGED = {
    "string_view": "string",
    "binary_view": "binary",
    "date64[ms]": "date32",
    "time64[ns]": "time64[us]",
}
"""Conversions to equivalent types that every pyarrow version can write and convert to Python values."""

_MOMENTS = re.compile(r"(timestamp|duration)\[")
_MAX_LENGTH = 200
"""Maximum number of characters of pyarrow's message in an error: it may quote the data."""


def library() -> Any:
    """Return pyarrow.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.compute
    except ImportError:
        raise MissingExtraError("pyarrow", extra="parquet") from None
    return pyarrow


def array_of(name: str, column: Column) -> Any:
    """Convert a column of Python values to an Arrow array.

    Raises:
        FeaturesError: Arrow can't represent a value.
    """
    pa = library()
    with translate_errors(name):
        kind = _type_of(column.kind)
    try:
        with translate_errors(name):
            array = pa.array(column.values, type=kind)
    except FeaturesError:
        # pyarrow doesn't report which value is invalid.
        for row, value in enumerate(column.values):
            with translate_errors(name, row):
                pa.array([value], type=kind)
        raise
    _check_moments(name, array)
    return array


def table_of(columns: Mapping[str, Any]) -> pyarrow.Table:
    """Return a table of Arrow columns and columns of Python values."""
    arrays = {name: array_of(name, one) if isinstance(one, Column) else one for name, one in columns.items()}
    return library().table(arrays)


def normalize(table: pyarrow.Table) -> pyarrow.Table:
    """Normalize a table: named indexes first, no other indexes, no categories, no NaN, no metadata.

    Raises:
        FeaturesError: Two columns have the same name, or a column has unsupported values.
    """
    check_schema(table.schema)
    columns = dict(zip(table.column_names, table.columns, strict=True))
    arranged = order_by_index(columns, table.schema.metadata, table.num_rows)
    return library().table({name: normalized_array(name, column) for name, column in arranged.items()})


def check_schema(schema: pyarrow.Schema) -> None:
    """Check names and types of the columns.

    Raises:
        FeaturesError: Two columns have the same name, or a column has an unsupported type.
    """
    check_names(schema.names)
    arranged = order_by_index(dict(zip(schema.names, schema, strict=True)), schema.metadata, 0)
    for name, field in arranged.items():
        _normalize_field(name, field, 0)


def normalized_array(name: str, array: Any) -> Any:
    """Normalize an array or a chunked array.

    Raises:
        FeaturesError: The array has unsupported values; the error names the column.
    """
    pa = library()
    array = array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
    wanted = normalized_type(name, array.type)
    with translate_errors(name):
        if array.type != wanted:
            array = array.cast(with_leaves(array.type, _decodable)).cast(wanted)
        # Arrays from files may be malformed.
        array.validate(full=True)
    _check_moments(name, array)
    if pa.types.is_floating(wanted):
        return _without_nan(array)
    if pa.types.is_nested(wanted) and any(_has_nan(leaf) for leaf in _leaves(array)):
        return pa.chunked_array([pa.array([_replace_nan(value) for value in array.to_pylist()], type=wanted)])
    return array


def normalized_type(name: str, kind: Any, depth: int = 0) -> Any:
    """Return the normalized type for an Arrow type.

    Raises:
        FeaturesError: The type is not supported.
    """
    pa = library()
    text = str(kind) if not pa.types.is_nested(kind) else ""
    if depth == _MAX_DEPTH:
        raise column_error(name, f"it is nested deeper than {_MAX_DEPTH} levels", hint="Send it flatter.")
    if text in _PLAIN or pa.types.is_fixed_size_binary(kind):
        return kind
    if text in _CHANGED:
        return pa.type_for_alias(_CHANGED[text])
    if _MOMENTS.match(text):
        # Parquet has no seconds.
        return _milliseconds(kind) if "[s" in text else kind
    if pa.types.is_decimal(kind):
        return pa.decimal128(kind.precision, kind.scale) if kind.bit_width < 128 else kind
    if pa.types.is_dictionary(kind):
        return normalized_type(name, kind.value_type, depth + 1)
    return _normalize_nested(name, kind, depth)


def with_leaves(kind: Any, convert: Callable[[Any], Any]) -> Any:
    """Return a type in which lists and structs have other types of values.

    Args:
        kind: The type.
        convert: Returns the type in place of one that is neither a list nor a struct.
    """
    pa = library()
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(with_leaves(kind.value_type, convert), kind.list_size)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return (pa.list_ if pa.types.is_list(kind) else pa.large_list)(with_leaves(kind.value_type, convert))
    if pa.types.is_struct(kind):
        fields = [kind.field(number) for number in range(kind.num_fields)]
        return pa.struct([field.with_type(with_leaves(field.type, convert)) for field in fields])
    return convert(kind)


def _decodable(kind: Any) -> Any:
    """Replace a dictionary of views: polars exports them, and pyarrow can't decode them."""
    pa = library()
    view = _CHANGED.get(str(kind.value_type)) if pa.types.is_dictionary(kind) else None
    return pa.dictionary(kind.index_type, pa.type_for_alias(view), kind.ordered) if view else kind


def _normalize_field(name: str, field: Any, depth: int) -> Any:
    # An extension type that pyarrow doesn't know has its storage type, and its name in the field's metadata.
    tag = (getattr(field, "metadata", None) or {}).get(b"ARROW:extension:name")
    if tag is not None:
        raise _no_type(name, tag.decode(errors="replace"))
    return normalized_type(name, field.type, depth)


def _no_type(name: str, kind: str) -> FeaturesError:
    hint = next((hint for word, hint in _ADVICE.items() if word in kind), _DEFAULT_ADVICE)
    return column_error(name, f"features have no type {kind[:_MAX_LENGTH]}", hint=hint)


def order_by_index(columns: Mapping[str, Any], metadata: Mapping[bytes, bytes] | None, rows: int) -> dict[str, Any]:
    """Order columns by the metadata of pandas: named indexes first, without unnamed indexes.

    Args:
        columns: Arrow columns or fields by name.
        metadata: Metadata of the schema.
        rows: Number of rows.

    Raises:
        FeaturesError: An unnamed index has values other than integers.
    """
    found: dict[str, Any] = {}
    rest = dict(columns)
    for index in _pandas_indexes(metadata):
        if isinstance(index, str) and index in rest:
            column = rest.pop(index)
            if not _NAMELESS.fullmatch(index):
                found[index] = column
            elif not library().types.is_integer(column.type):
                raise nameless()
        elif isinstance(index, dict) and isinstance(index.get("name"), str) and index["name"] not in rest:
            found[index["name"]] = _range(index, rows)
    return {**found, **rest}


def nameless() -> FeaturesError:
    """Return the error for an unnamed index with values other than row numbers."""
    return FeaturesError(
        "The index of the table has values and no name, so they can't become a column.",
        hint='Name it, table.rename_axis("name"), or drop it, table.reset_index(drop=True).',
    )


def _type_of(kind: Kind) -> Any:
    pa = library()
    if kind.items is not None:
        return pa.list_(_type_of(kind.items))
    if kind.members:
        return pa.struct([(key, _type_of(one)) for key, one in kind.members.items()])
    makers: dict[str, Callable[[], Any]] = {
        "null": pa.null,
        "bool": pa.bool_,
        "int": pa.int64,
        "uint": pa.uint64,
        "float": pa.float64,
        "str": pa.string,
        "bytes": pa.binary,
        "date": pa.date32,
        "time": lambda: pa.time64("us"),
        "datetime": lambda: pa.timestamp(_unit(kind), None if kind.zone is None else pa.array([kind.zone]).type.tz),
        "timedelta": lambda: pa.duration(_unit(kind)),
        "decimal": lambda: _decimal(sum(kind.digits) or 1, kind.digits[1]),
    }
    return makers[kind.name]()


def _unit(kind: Kind) -> str:
    return "ns" if kind.nanoseconds else "us"


def _decimal(precision: int, scale: int) -> Any:
    pa = library()
    return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)


def _milliseconds(kind: Any) -> Any:
    pa = library()
    return pa.timestamp("ms", kind.tz) if pa.types.is_timestamp(kind) else pa.duration("ms")


def _normalize_nested(name: str, kind: Any, depth: int) -> Any:
    pa = library()
    if pa.types.is_fixed_size_list(kind) and kind.list_size:
        return pa.list_(_normalize_field(name, kind.value_field, depth + 1), kind.list_size)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        make = pa.list_ if pa.types.is_list(kind) else pa.large_list
        return make(_normalize_field(name, kind.value_field, depth + 1))
    if pa.types.is_map(kind):
        types = (kind.key_type, kind.item_type)
        return pa.map_(*(normalized_type(name, one, depth + 1) for one in types))
    if pa.types.is_struct(kind) and kind.num_fields:
        fields = [kind.field(number) for number in range(kind.num_fields)]
        names = [one.name for one in fields]
        if len(set(names)) < len(names):
            raise column_error(name, "its objects have two members of one name", hint="Rename one of them.")
        return pa.struct([(one.name, _normalize_field(name, one, depth + 1)) for one in fields])
    raise _no_type(name, str(kind))


_ADVICE = {
    "period": "Make it a date: series.dt.to_timestamp(); or a string: series.astype(str).",
    "pandas.interval": "Give its two ends as columns, or make it a string: series.astype(str).",
    "month_day_nano": "Give months, days and nanoseconds as separate columns, or a duration.",
}

_DEFAULT_ADVICE = "Cast the column to numbers, strings, dates, or lists or structs of these."


def _check_moments(name: str, array: Any) -> None:
    """Check that Python can represent all datetimes and durations: up to the year 9999, and in known time zones."""
    pa = library()
    is_nested = pa.types.is_nested(array.type)
    for leaf in _leaves(array) if is_nested else [array]:
        if not pa.types.is_temporal(leaf.type) or not _MOMENTS.match(str(leaf.type)):
            continue
        integers = leaf.cast(pa.int64())
        for end in pa.compute.min_max(integers).as_py().values():
            row = None if is_nested or end is None else pa.compute.index(integers, end).as_py()
            with translate_errors(name, row):
                pa.scalar(end, type=leaf.type).as_py()


def _without_nan(array: Any) -> Any:
    pa = library()
    return (
        pa.compute.if_else(pa.compute.is_nan(array), pa.scalar(None, array.type), array) if _has_nan(array) else array
    )


def _has_nan(array: Any) -> bool:
    pa = library()
    return pa.types.is_floating(array.type) and pa.compute.any(pa.compute.is_nan(array)).as_py() is True


def _replace_nan(value: Any) -> Any:
    """Replace NaN by None in a nested value."""
    if isinstance(value, dict):
        return {key: _replace_nan(member) for key, member in value.items()}
    # An entry of a map is a tuple.
    if isinstance(value, (list, tuple)):
        return type(value)(map(_replace_nan, value))
    return None if isinstance(value, float) and value != value else value


def _leaves(array: Any) -> Iterator[Any]:
    """Yield the leaf arrays of a nested array, without values below a null."""
    pa = library()
    for chunk in array.chunks if isinstance(array, pa.ChunkedArray) else [array]:
        if pa.types.is_struct(chunk.type):
            for part in chunk.flatten():
                yield from _leaves(part)
        elif pa.types.is_map(chunk.type):
            yield from _leaves(chunk.keys)
            yield from _leaves(chunk.items)
        elif pa.types.is_nested(chunk.type):
            yield from _leaves(chunk.flatten())
        else:
            yield chunk


def _pandas_indexes(metadata: Mapping[bytes, bytes] | None) -> Sequence[Any]:
    try:
        found = json.loads((metadata or {})[b"pandas"])["index_columns"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    return found if isinstance(found, list) else ()


def _range(index: Mapping[str, Any], rows: int) -> Any:
    """Return the column of a RangeIndex, of which pandas writes only start, stop and step."""
    pa = library()
    start, step = index.get("start"), index.get("step")
    if type(start) is not int or type(step) is not int or not step:
        raise FeaturesError(f"The index {short_repr(index['name'])} is not a range.", hint="Write the file again.")
    with translate_errors(index["name"]):
        return pa.array(range(start, start + step * rows, step), type=pa.int64())
