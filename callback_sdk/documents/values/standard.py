"""Convert values of the standard library, attrs and pydantic for JSON."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import os
from collections import UserString
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from decimal import Decimal
from enum import Enum
from numbers import Rational
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any
from uuid import UUID

import orjson

from callback_sdk.documents.values.encoded import EncodedValue


def converter(kind: type) -> Callable[[Any], Any]:
    """Return the converter of a type. For an unsupported type, the converter raises TypeError with a hint."""
    if ambiguity(kind):
        return _ambiguous
    if dataclasses.is_dataclass(kind) and not issubclass(kind, Enum):
        return _dataclass(kind)
    return next((make for base, make in _CONVERTERS if issubclass(kind, base)), _container)


def ambiguity(kind: type) -> str:
    """Return why a type is ambiguous (it has fields and derives from a built-in type); empty if it is not."""
    has_fields = dataclasses.is_dataclass(kind) or hasattr(kind, "__attrs_attrs__")
    if not has_fields or issubclass(kind, Enum):
        return ""
    base = next((base for base in _BUILTIN if issubclass(kind, base)), None)
    return "" if base is None else f"{kind.__qualname__} has fields and is a {base.__name__}"


def _ambiguous(value: Any) -> Any:
    raise TypeError(f"{ambiguity(type(value))}, and JSON holds only one of them: give one.")


def _dataclass(kind: type) -> Callable[[Any], dict[str, Any]]:
    """Return a function that returns the public members of a dataclass instance: fields and other attributes.

    orjson's own conversion omits fields in slots of a base class and fields with a value from the class. It also writes
    cached properties, but only those that have been read.
    """
    names = [field.name for field in dataclasses.fields(kind) if field.name[:1] != "_"]
    attributes = {name: value for base in reversed(kind.__mro__) for name, value in vars(base).items()}
    hidden = {name for name, value in attributes.items() if isinstance(value, functools.cached_property)}

    def members(value: Any) -> dict[str, Any]:
        held: dict[str, Any] = getattr(value, "__dict__", _NOTHING)
        if [*held] == names:
            return held
        fields = {name: getattr(value, name) for name in names if hasattr(value, name)}
        others = {name: held[name] for name in held if name[:1] != "_" and name not in hidden}
        return fields | others

    return members


def _decimal(value: Decimal) -> str | None:
    return str(value) if value.is_finite() else None


_BUILTIN = (str, int, float, dict, list, tuple)

_NOTHING: dict[str, Any] = {}

_CONVERTERS: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (EncodedValue, lambda value: orjson.Fragment(value.data)),
    (Enum, lambda value: value.value),
    # Methods of the base classes, because subclasses may override them.
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (Decimal, _decimal),
    (dt.datetime, dt.datetime.isoformat),
    (dt.date, dt.date.isoformat),
    (dt.time, dt.time.isoformat),
    (UUID, UUID.__str__),
    (UserString, lambda value: value.data),
    (Mapping, dict),
)


def _container(value: Any) -> Any:
    kind = type(value)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return list(value)
    if hasattr(kind, "__attrs_attrs__"):
        names = [field.name for field in kind.__attrs_attrs__]
        return {name: getattr(value, name) for name in names if hasattr(value, name)}
    if hasattr(kind, "model_dump") and hasattr(kind, "model_fields"):
        return value.model_dump()
    raise TypeError(_advice(value))


def _advice(value: Any) -> str:
    return next((advice for kinds, advice in _ADVICE if isinstance(value, kinds)), _general(value))


def _general(value: Any) -> str:
    for name, call in (("collect", "collect"), ("to_pandas", "to_pandas"), ("tolist", "tolist")):
        if hasattr(value, name) and not isinstance(value, type):
            return f"Call its method {call}() first."
    return "Turn it into numbers, strings, lists and dicts first."


_ADVICE: tuple[tuple[Any, str], ...] = (
    ((bytes, bytearray, memoryview), "Encode bytes as text first, for example in base64."),
    ((KeysView, ValuesView, ItemsView), "Make a list of it: list(value)."),
    (AbstractSet, "Sets have no order: make it a sorted list."),
    (dt.timedelta, "Give a duration as a number of seconds: value.total_seconds()."),
    (complex, "Give the real and the imaginary part as two numbers: value.real, value.imag."),
    (Rational, "Make it a float, or a string: str(value)."),
    (os.PathLike, "Make it a string: str(path)."),
    (Iterator, "It can be read only once: make a list of it, list(value)."),
    ((BuiltinFunctionType, FunctionType, MethodType), "It is a function: call it, and give what it returns."),
)
