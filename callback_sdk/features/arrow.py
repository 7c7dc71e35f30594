"""Features as an Arrow table: made from any container, and made the same whatever that was.

The rule of docs/features.md. Client and service share it, so that features are the same however they came. pyarrow is
imported where it is used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from callback_sdk.errors import FeaturesError, MissingExtraError
from callback_sdk.features.column_errors import explained, refused, shown
from callback_sdk.features.columns import Column, Kind, check_names

if TYPE_CHECKING:
    import pyarrow

_NAMELESS = re.compile(r"__index_level_[0-9]+__")
"""What pandas calls an index without a name in Arrow and Parquet."""

_DEEPEST = 32
"""Levels of a type. pyarrow follows them recursively."""

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
"""Types that stay what they are."""

_CHANGED = {
    "string_view": "string",
    "binary_view": "binary",
    "date64[ms]": "date32",
    "time64[ns]": "time64[us]",
}
"""Types that become others: they hold the same, and every pyarrow writes them and makes Python values of them."""

_MOMENTS = re.compile(r"(timestamp|duration)\[")
_LONGEST = 200
"""Characters of pyarrow's own reason that an error shows: it may quote the data."""


def library() -> Any:
    """Return pyarrow.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.compute
    except ImportError:
        raise MissingExtraError("pyarrow", extra="parquet") from None
    return pyarrow


def array_of(name: str, column: Column) -> Any:
    """Return a column of Python values as Arrow.

    Raises:
        FeaturesError: Arrow can't hold it.
    """
    pa = library()
    with explained(name):
        kind = _type_of(column.kind)
    try:
        with explained(name):
            array = pa.array(column.values, type=kind)
    except FeaturesError:
        # pyarrow doesn't tell which value it is.
        for row, value in enumerate(column.values):
            with explained(name, row):
                pa.array([value], type=kind)
        raise
    _check_moments(name, array)
    return array


def table_of(columns: Mapping[str, Any]) -> pyarrow.Table:
    """Return Arrow's columns, or those of Python values, as one table."""
    arrays = {name: array_of(name, one) if isinstance(one, Column) else one for name, one in columns.items()}
    return library().table(arrays)


def normalized(table: pyarrow.Table) -> pyarrow.Table:
    """Return a table as the rule has it: named indexes first, no others, no categories, no NaN, no metadata.

    Raises:
        FeaturesError: Two columns have one name, or one holds what features can't hold.
    """
    check_schema(table.schema)
    columns = dict(zip(table.column_names, table.columns, strict=True))
    arranged = indexed(columns, table.schema.metadata, table.num_rows)
    return library().table({name: normalized_array(name, column) for name, column in arranged.items()})


def check_schema(schema: pyarrow.Schema) -> None:
    """Make sure that features may have these names and types.

    Raises:
        FeaturesError: Two columns have one name, or one has a type that features don't have.
    """
    check_names(schema.names)
    arranged = indexed(dict(zip(schema.names, schema, strict=True)), schema.metadata, 0)
    for name, field in arranged.items():
        _normalized_field(name, field, 0)


def normalized_array(name: str, array: Any) -> Any:
    """Return an Arrow array, or a chunked one, as the rule has it.

    Raises:
        FeaturesError: It holds what features can't hold; the error names the column.
    """
    pa = library()
    array = array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
    wanted = normalized_type(name, array.type)
    with explained(name):
        if array.type != wanted:
            array = array.cast(_without_views(array.type)).cast(wanted)
        # What came in a file may be anything.
        array.validate(full=True)
    _check_moments(name, array)
    if pa.types.is_floating(wanted):
        return _without_nan(array)
    if pa.types.is_nested(wanted) and any(_has_nan(leaf) for leaf in _leaves(array)):
        return pa.chunked_array([pa.array([_nulled(value) for value in array.to_pylist()], type=wanted)])
    return array


def normalized_type(name: str, kind: Any, depth: int = 0) -> Any:
    """Return the type that a type of Arrow becomes.

    Raises:
        FeaturesError: Features have no such type.
    """
    pa = library()
    text = str(kind) if not pa.types.is_nested(kind) else ""
    if depth == _DEEPEST:
        raise refused(name, f"it is nested deeper than {_DEEPEST} levels", hint="Send it flatter.")
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
    return _normalized_nested(name, kind, depth)


def _without_views(kind: Any) -> Any:
    """Return a type with no dictionaries of views: polars exports them, and pyarrow can't decode them."""
    pa = library()
    if pa.types.is_dictionary(kind):
        view = _CHANGED.get(str(kind.value_type))
        return pa.dictionary(kind.index_type, pa.type_for_alias(view), kind.ordered) if view else kind
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_without_views(kind.value_type), kind.list_size)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return (pa.list_ if pa.types.is_list(kind) else pa.large_list)(_without_views(kind.value_type))
    if pa.types.is_struct(kind):
        fields = [kind.field(number) for number in range(kind.num_fields)]
        return pa.struct([(one.name, _without_views(one.type)) for one in fields])
    return kind


def _normalized_field(name: str, field: Any, depth: int) -> Any:
    # What only some other library knows comes as what it is stored as, with its name beside it.
    tag = (getattr(field, "metadata", None) or {}).get(b"ARROW:extension:name")
    if tag is not None:
        raise _no_type(name, tag.decode(errors="replace"))
    return normalized_type(name, field.type, depth)


def _no_type(name: str, kind: str) -> FeaturesError:
    hint = next((hint for word, hint in _ADVICE.items() if word in kind), _USUAL_ADVICE)
    return refused(name, f"features have no type {kind[:_LONGEST]}", hint=hint)


def indexed(columns: Mapping[str, Any], metadata: Mapping[bytes, bytes] | None, rows: int) -> dict[str, Any]:
    """Arrange columns by what pandas wrote beside them: named indexes first, and none without a name.

    Args:
        columns: Arrow's columns, or their fields, by name.
        metadata: The schema's own.
        rows: How many each column has.

    Raises:
        FeaturesError: An index without a name has other values than integers.
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
    """Return the error for an index whose values are no row numbers, and which has no name."""
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


def _normalized_nested(name: str, kind: Any, depth: int) -> Any:
    pa = library()
    if pa.types.is_fixed_size_list(kind) and kind.list_size:
        return pa.list_(_normalized_field(name, kind.value_field, depth + 1), kind.list_size)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        make = pa.list_ if pa.types.is_list(kind) else pa.large_list
        return make(_normalized_field(name, kind.value_field, depth + 1))
    if pa.types.is_map(kind):
        types = (kind.key_type, kind.item_type)
        return pa.map_(*(normalized_type(name, one, depth + 1) for one in types))
    if pa.types.is_struct(kind) and kind.num_fields:
        fields = [kind.field(number) for number in range(kind.num_fields)]
        names = [one.name for one in fields]
        if len(set(names)) < len(names):
            raise refused(name, "its objects have two members of one name", hint="Rename one of them.")
        return pa.struct([(one.name, _normalized_field(name, one, depth + 1)) for one in fields])
    raise _no_type(name, str(kind))


_ADVICE = {
    "period": "Make it a date: series.dt.to_timestamp(); or a string: series.astype(str).",
    "pandas.interval": "Give its two ends as columns, or make it a string: series.astype(str).",
    "month_day_nano": "Give months, days and nanoseconds as columns of their own, or a duration.",
}

_USUAL_ADVICE = "Cast the column to numbers, strings, dates, or lists or structs of these."


def _check_moments(name: str, array: Any) -> None:
    """Make sure that Python has values for all moments: not beyond the year 9999, and in zones that it knows."""
    pa = library()
    is_nested = pa.types.is_nested(array.type)
    for leaf in _leaves(array) if is_nested else [array]:
        if not pa.types.is_temporal(leaf.type) or not _MOMENTS.match(str(leaf.type)):
            continue
        integers = leaf.cast(pa.int64())
        for end in pa.compute.min_max(integers).as_py().values():
            row = None if is_nested or end is None else pa.compute.index(integers, end).as_py()
            with explained(name, row):
                pa.scalar(end, type=leaf.type).as_py()


def _without_nan(array: Any) -> Any:
    pa = library()
    return (
        pa.compute.if_else(pa.compute.is_nan(array), pa.scalar(None, array.type), array) if _has_nan(array) else array
    )


def _has_nan(array: Any) -> bool:
    pa = library()
    return pa.types.is_floating(array.type) and pa.compute.any(pa.compute.is_nan(array)).as_py() is True


def _nulled(value: Any) -> Any:
    """Return a nested value with None for NaN."""
    if isinstance(value, dict):
        return {key: _nulled(member) for key, member in value.items()}
    # An entry of a map is a tuple.
    if isinstance(value, (list, tuple)):
        return type(value)(map(_nulled, value))
    return None if isinstance(value, float) and value != value else value


def _leaves(array: Any) -> Iterator[Any]:
    """Yield the arrays of which a nested one consists, without what lies below a null."""
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
    """Make the column of an index that pandas wrote as its ends only."""
    pa = library()
    start, step = index.get("start"), index.get("step")
    if type(start) is not int or type(step) is not int or not step:
        raise FeaturesError(f"The index {shown(index['name'])} is not a range.", hint="Write the file again.")
    with explained(index["name"]):
        return pa.array(range(start, start + step * rows, step), type=pa.int64())
