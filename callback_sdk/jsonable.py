"""What a value of another library is in JSON: one step towards plain lists and dicts.

No library is imported here: a value of theirs can only exist when they are loaded already.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any


def jsonable(value: Any) -> Any:
    """Return what stands for a value in JSON; its parts may need another call.

    Tables become a dict of columns, series and arrays a list.

    Raises:
        TypeError: Nothing does; the text says what to make of it.
    """
    library = type(value).__module__.partition(".")[0]
    convert = _LIBRARIES.get(library, _standard)
    return convert(value)


def dataclass_members(value: Any) -> dict[str, Any]:
    """Return what a dataclass shows, by orjson's rules.

    Whatever lies in the instance counts, or its fields where it has slots; a leading underscore is private.
    """
    kind = type(value)
    if "__slots__" in vars(kind) or not kind.__dictoffset__:
        held = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    else:
        held = vars(value)
    return {name: held[name] for name in held if name[:1] != "_"}


def member(path: str, key: object) -> str:
    """Return the path of a member, `path.key`, or `path["a key"]` where that would be ambiguous."""
    text = str(key)
    return f"{path}.{text}" if text.isidentifier() else f"{path}[{json.dumps(text, ensure_ascii=False)}]"


def _standard(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value) if value.is_finite() else None
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return list(value)
    if hasattr(type(value), "__attrs_attrs__"):
        return {field.name: getattr(value, field.name) for field in type(value).__attrs_attrs__}
    raise TypeError(_advice(value))


def _advice(value: Any) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "Encode bytes as text first, as base64 for one."
    if isinstance(value, (set, frozenset)):
        return "Sets have no order: make it a sorted list."
    if isinstance(value, dt.timedelta):
        return "Give a duration as a number of seconds: value.total_seconds()."
    return "Turn it into numbers, strings, lists and dicts first."


def _numpy(value: Any) -> Any:
    # orjson takes arrays of numbers that lie in C order; a copy in that order is quicker than a list.
    if getattr(value, "ndim", 0) and value.dtype.kind in "fiu" and not value.flags.c_contiguous:
        return value.copy(order="C")
    if value.dtype.kind in "cV":
        raise TypeError("Give complex or structured numbers as separate real columns.")
    return value.tolist()


def _pandas(value: Any) -> Any:
    kind = type(value).__name__
    if kind in ("NaTType", "NAType"):
        return None
    if hasattr(value, "columns"):
        return _columns([str(name) for name in value.columns], lambda n: value.iloc[:, n])
    if hasattr(value, "tolist"):
        return (
            value.to_numpy()
            if getattr(value.dtype, "kind", "O") in "fiub" and _is_numpy(value.dtype)
            else value.tolist()
        )
    return _standard(value)


def _is_numpy(dtype: Any) -> bool:
    return type(dtype).__module__.partition(".")[0] == "numpy"


def _pyarrow(value: Any) -> Any:
    if hasattr(value, "column_names"):
        return _columns(value.column_names, value.column)
    if hasattr(value, "to_pylist"):
        return value.to_pylist()
    if hasattr(value, "as_py"):
        return value.as_py()
    return _standard(value)


def _columns(names: list[str], column: Callable[[int], Any]) -> dict[str, Any]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TypeError(f"It has two columns of the name {twice[0]!r}, and a JSON object has one: rename one of them.")
    return {name: column(number) for number, name in enumerate(names)}


_LIBRARIES: dict[str, Callable[[Any], Any]] = {"numpy": _numpy, "pandas": _pandas, "pyarrow": _pyarrow}
