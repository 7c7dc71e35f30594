"""Convert values of any library one step towards JSON types, as specified in docs/values.md.

This module imports no library: a value of a library exists only if the library has already been imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from callback_sdk.concurrency.forking import no_fork

_LIBRARIES = {"numpy": "numpy", "pandas": "pandas", "pyarrow": "arrow"}
"""Converter modules of this package by library."""

KNOWN: dict[type, Callable[[Any], Any]] = {}
"""Cached converters by type, except for arrays and Arrow streams, whose conversion needs more than the value."""

_MAX_KNOWN = 1000


def convert(value: Any) -> Any:
    """Convert a value one step towards JSON types; its parts may need further steps.

    Tables become a dict of columns, series and arrays a list or an array of numbers.

    Raises:
        TypeError: The type is not supported; the text has a hint.
    """
    return _converter(type(value))(value)


class Conversion:
    """`convert` for one document. It reads each Arrow stream only once, because most can't be read again."""

    def __init__(self) -> None:
        # The value is stored too: otherwise its id could be reused by another value.
        self._read: dict[int, tuple[Any, Any]] = {}

    def __call__(self, value: Any) -> Any:
        """See `convert`."""
        converter = _converter(type(value))
        if converter is not _stream:
            return converter(value)
        if id(value) not in self._read:
            self._read[id(value)] = (value, converter(value))
        return self._read[id(value)][1]


def is_array(value: Any) -> bool:
    """Return whether a value is exactly a `numpy.ndarray`, not an instance of a subclass."""
    return _is_array_type(type(value))


def _is_array_type(kind: type) -> bool:
    return kind.__name__ == "ndarray" and kind.__module__ == "numpy"


def _converter(kind: type) -> Callable[[Any], Any]:
    converter = KNOWN.get(kind)
    if converter is None:
        converter = _find_converter(kind)
        if converter is not _stream and not _is_array_type(kind):
            if len(KNOWN) >= _MAX_KNOWN:
                # Allows classes created at run time to be collected.
                KNOWN.clear()
            KNOWN[kind] = converter
    return converter


def _find_converter(kind: type) -> Callable[[Any], Any]:
    """Find the converter of a type by its first base class from a supported library, to include subclasses."""
    for base in kind.__mro__:
        library = base.__module__.partition(".")[0]
        if library in _LIBRARIES:
            found: Callable[[Any], Any] | None = _module(_LIBRARIES[library]).converter(kind)
            if found is not None:
                return found
            break
    if hasattr(kind, "__arrow_c_stream__") or hasattr(kind, "__arrow_c_array__"):
        return _stream
    standard: Callable[[Any], Any] = _module("standard").converter(kind)
    return standard


def _stream(value: Any) -> Any:
    return _module("arrow").stream(value)


def _module(name: str) -> Any:
    # Imported by name, so that writing results doesn't depend statically on the table libraries. Most documents have
    # only types that orjson knows.
    with no_fork:
        return importlib.import_module(f"callback_sdk.documents.values.{name}")
