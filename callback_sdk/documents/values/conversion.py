"""One step from a value of any library towards what JSON has, by the table in docs/values.md.

No library is imported here: a value of one can only exist when that is loaded already.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from callback_sdk.documents.values import standard

_LIBRARIES = {"numpy": "numpy", "pandas": "pandas", "pyarrow": "arrow"}
"""Modules of ours, by the library whose values they know."""

KNOWN: dict[type, Callable[[Any], Any]] = {}
"""What converts a type, found once; for all types but arrays and Arrow streams, which need more than their value."""

_MOST_KNOWN = 1000


def convert(value: Any) -> Any:
    """Return what stands for a value in JSON; its parts may need another step.

    Tables become a dict of columns, series and arrays a list or an array of numbers.

    Raises:
        TypeError: Nothing does; the text says what to make of it.
    """
    return _converter(type(value))(value)


class Conversion:
    """`convert` for one document. It reads each Arrow stream once, as most can't be read again."""

    def __init__(self) -> None:
        # With the value, whose id could be another's otherwise.
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
    """Return whether a value is an array of NumPy itself, and of no class derived from that."""
    return _is_array_type(type(value))


def _is_array_type(kind: type) -> bool:
    return kind.__name__ == "ndarray" and kind.__module__ == "numpy"


def _converter(kind: type) -> Callable[[Any], Any]:
    converter = KNOWN.get(kind)
    if converter is None:
        converter = _found(kind)
        if converter is not _stream and not _is_array_type(kind):
            if len(KNOWN) >= _MOST_KNOWN:
                # So that classes made at run time can be freed.
                KNOWN.clear()
            KNOWN[kind] = converter
    return converter


def _found(kind: type) -> Callable[[Any], Any]:
    """Find what converts a type, by the first of its bases that a library knows: people derive from theirs."""
    for base in kind.__mro__:
        library = base.__module__.partition(".")[0]
        if library in _LIBRARIES:
            found: Callable[[Any], Any] | None = _module(_LIBRARIES[library]).converter(kind)
            if found is not None:
                return found
            break
    if hasattr(kind, "__arrow_c_stream__") or hasattr(kind, "__arrow_c_array__"):
        return _stream
    return standard.converter(kind)


def _stream(value: Any) -> Any:
    return _module("arrow").stream(value)


def _module(name: str) -> Any:
    # By its name, so that what only writes results depends on no library of tables.
    return importlib.import_module(f"callback_sdk.documents.values.{name}")
