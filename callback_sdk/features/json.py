"""Features as JSON, a dict of columns or a list of records, validated as specified in docs/features.md."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from callback_sdk.documents.decoding import decode
from callback_sdk.errors import FeaturesError
from callback_sdk.features.column_errors import short_repr
from callback_sdk.features.columns import Column, check_column, check_names

MAX_JSON = 64 * 1024**2
"""Maximum bytes of a JSON file. Parsing it needs about ten times as much memory."""

_MAX_COLUMNS = 10_000

_MAX_PARTS = 12_000_000
"""Maximum weight of the values in a JSON file (see `weigh`); about 600 MB of objects."""

_SEARCHED = 64 * 1024
"""Maximum bytes of JSON that are searched for a repeated member name."""

_CONTAINERS = frozenset({dict, list})

# The closing quote is optional, so that an unterminated string doesn't restart the search at each of its quotes.
_JSON_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)


def check(source: Path | bytes, max_json: int) -> None:
    """Check that a JSON file is a valid table.

    Args:
        source: The file's path, or its content.
        max_json: Maximum size in bytes.

    Raises:
        FeaturesError: The file is invalid or too large.
    """
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    if size > max_json:
        raise FeaturesError(
            f"The features have {size} bytes of JSON, and may have {max_json}.",
            hint="Send Parquet: it is smaller, and may be larger.",
        )
    # One column at a time, because each is a copy.
    for name, values in _parse(source).items():
        check_column(name, values)


def read(source: Path | bytes) -> dict[str, Column]:
    """Return the columns of a table.

    Raises:
        FeaturesError: The file is not a valid table.
    """
    return {name: check_column(name, values) for name, values in _parse(source).items()}


def _parse(source: Path | bytes) -> dict[str, list[Any]]:
    data = source if isinstance(source, bytes) else source.read_bytes()
    if weigh(data) > _MAX_PARTS:
        raise FeaturesError("The features have too many values for JSON.", hint="Send Parquet.")
    try:
        found = decode(data)
    except ValueError as error:
        raise FeaturesError(
            f"The features are neither Parquet nor JSON: {error}.",
            hint="Send a dict of equally long columns, or a list of records.",
        ) from None
    columns = _columns(found)
    check_names(list(columns))
    _check_text(data, found)
    return columns


def _check_text(data: bytes, found: Any) -> None:
    """Check that no object has a repeated member name: parsers use only the last of the members."""
    members = _count_members(found)
    # Colons in strings are rare, so the first count is enough for most texts.
    if data.count(b":") != members and data.count(b":") - _colons_in_strings(data) != members:
        raise FeaturesError(
            f"A JSON object of the features has {_repeated_name(data)} twice.",
            hint="Give each column a different name. Most parsers use the last of two columns with the same name.",
        )


class _RepeatedNameError(Exception):
    """A JSON object has a repeated member name."""


def _repeated_name(data: bytes) -> str:
    """Return the repeated member name, unless the search would take too long."""

    def check_names(members: list[tuple[str, Any]]) -> None:
        for name, count in Counter(name for name, _ in members).items():
            if count > 1:
                raise _RepeatedNameError(name)

    if len(data) <= _SEARCHED:
        try:
            json.loads(data, object_pairs_hook=check_names)
        except _RepeatedNameError as found:
            return short_repr(found.args[0])
        except RecursionError:
            pass
    return "a name"


def _colons_in_strings(data: bytes) -> int:
    return sum(match[0].count(b":") for match in _JSON_STRING.finditer(data))


def _count_members(found: Any) -> int:
    """Count the members of all objects in a parsed JSON text."""
    count, level = 0, [found]
    while level:
        count += sum(len(value) for value in level if type(value) is dict)
        level = [*chain.from_iterable(map(_containers, level))]
    return count


def _containers(container: Any) -> Iterable[Any]:
    values = container.values() if type(container) is dict else container
    # Most containers have no nested ones. The set operations detect that without a Python loop.
    return [value for value in values if type(value) in _CONTAINERS] if _CONTAINERS & {*map(type, values)} else ()


def weigh(data: bytes) -> int:
    """Estimate the number of values in a JSON text before parsing it. A string counts 3, a list or dict 5, others 1."""
    return data.count(b",") + data.count(b'"') + 4 * (data.count(b"[") + data.count(b"{"))


def _columns(data: Any) -> dict[str, list[Any]]:
    if isinstance(data, list):
        return _from_records(data)
    if not isinstance(data, dict):
        raise FeaturesError(
            f"The features are a JSON {_kind(data)}.",
            hint="Send a dict of equally long columns, or a list of records.",
        )
    if not data:
        raise FeaturesError("The features have no column.", hint="Send a table with at least one.")
    for name, column in data.items():
        if not isinstance(column, list):
            raise FeaturesError(
                f"Column {short_repr(name)} of the features is a JSON {_kind(column)}.",
                hint="Each column is a list of values.",
            )
    first, *others = data
    for name in others:
        if len(data[name]) != len(data[first]):
            raise FeaturesError(
                f"The features' columns are not equally long: {short_repr(first)} has {len(data[first])} values "
                f"and {short_repr(name)} has {len(data[name])}.",
                hint="Fill missing values with null.",
            )
    if not data[first]:
        raise FeaturesError("The features have no row.", hint="Send a table with at least one.")
    return data


def _from_records(records: list[Any]) -> dict[str, list[Any]]:
    if not records:
        raise FeaturesError("The features have no row.", hint="Send at least one record.")
    names: dict[str, None] = {}
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise FeaturesError(
                f"Record {number} of the features is a JSON {_kind(record)}.",
                hint="Each record is a dict of values by column.",
            )
        names.update(dict.fromkeys(record))
    if not names:
        raise FeaturesError("The features have no column.", hint="Send records with at least one value.")
    # A few records may have many distinct columns in total, and nearly the whole table is null then.
    if len(names) > _MAX_COLUMNS or len(names) * len(records) > _MAX_PARTS:
        raise FeaturesError(
            f"The features have {len(records)} records with {len(names)} columns between them.",
            hint="Give all records the same columns, or send Parquet.",
        )
    return {name: [record.get(name) for record in records] for name in names}


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return kinds[type(value)]
