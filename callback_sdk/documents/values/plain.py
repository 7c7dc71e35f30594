"""Convert any value to plain Python: strings, numbers, lists, and dicts with string keys. Errors have the path.

This is the slow path, for values that orjson can't write and for errors, as orjson doesn't report the location.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import orjson
from attrs import define

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.documents.decoding import decode
from callback_sdk.documents.values.conversion import is_array
from callback_sdk.documents.values.encoded import EncodedValue
from callback_sdk.documents.values.keys import integer_text, key_text
from callback_sdk.documents.values.loops import too_deep
from callback_sdk.documents.values.paths import member, shorten
from callback_sdk.errors import EncodingError


@define(frozen=True)
class Plain:
    """Converts values to plain Python.

    Attributes:
        convert: Converts values of other libraries, as `Conversion` does.
        only_finite: Whether NaN, infinities and NaT are errors; otherwise they become None.
    """

    convert: Callable[[Any], Any]
    only_finite: bool = False

    def value(self, value: Any, path: str) -> Any:
        """Return an equivalent value that the standard library's `json` can write.

        Args:
            value: The value.
            path: Path of the value for errors.

        Raises:
            EncodingError: A value can't be represented in JSON.
        """
        try:
            return self._plain(value, path)
        except RecursionError:
            raise too_deep(value, path, self.convert) from None

    def _plain(self, value: Any, path: str) -> Any:
        kind = type(value)
        if value is None or kind in (str, bool):
            return value
        if kind is int:
            _call(integer_text, value, path)
            return value
        if kind is float:
            return value if math.isfinite(value) else self._reject_missing(path, value)
        if kind is dict:
            return self._members(value, path)
        if kind in (list, tuple):
            return [self._plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
        return self._other(value, path)

    def _members(self, members: Mapping[Any, Any], path: str) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        keys: dict[str, Any] = {}
        for key, item in members.items():
            text = _call(key_text, key, path, key_of=True)
            if text in plain:
                raise EncodingError(
                    f"{shorten(path)} has two keys that encode to the same string, "
                    f"{keys[text]!r:.100} and {key!r:.100}.",
                    hint="Make the keys distinct as strings.",
                    path=path,
                )
            keys[text] = key
            plain[text] = self._plain(item, member(path, text))
        return plain

    def _other(self, value: Any, path: str) -> Any:
        if is_array(value):
            return self._array(value, path)
        if isinstance(value, EncodedValue):
            return decode(value.data)
        plainer = _call(self.convert, value, path)
        if plainer is None and _is_missing_number(value):
            return self._reject_missing(path, value)
        return self._plain(plainer, path)

    def _array(self, array: Any, path: str) -> Any:
        with no_fork:
            from callback_sdk.documents.values import numpy

        if self.only_finite and numpy.count_nonfinite(array):
            place = numpy.first_nonfinite(array)
            self._reject_missing(path + "".join(f"[{index}]" for index in place), array[place])
        native = _call(numpy.native, array, path)
        if native is not None:
            return orjson.loads(numpy.dump(native))
        return self._plain(_call(self.convert, array, path), path)

    def _reject_missing(self, path: str, value: Any) -> None:
        if self.only_finite:
            raise EncodingError(
                f"{shorten(path)} is {value}, which can't be represented in JSON.",
                hint="Give None, or a string, in its place.",
                path=path,
            )


def _call(function: Callable[[Any], Any], value: Any, path: str, *, key_of: bool = False) -> Any:
    """Call a function that may run foreign code, and add the value's path to its errors."""
    try:
        return function(value)
    except RecursionError:
        raise
    except uninterrupted(TypeError) as error:
        raise _unfit(value, path, str(error), key_of=key_of) from None
    except uninterrupted(Exception) as error:
        reason = f"Reading it raised {type(error).__name__}: {error}"
        raise _unfit(value, path, reason, key_of=key_of) from error


def _unfit(value: Any, path: str, hint: str, *, key_of: bool) -> EncodingError:
    what = "has a key" if key_of else "is a value"
    return EncodingError(
        f"{shorten(path)} {what} of type {_type_name(value)}, and can't be written as JSON.", hint=hint, path=path
    )


def _type_name(value: Any) -> str:
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    # For an array, the cause of the error is its dtype, not its class.
    return f"{name} of {value.dtype}" if is_array(value) else name


def _is_missing_number(value: Any) -> bool:
    return isinstance(value, Decimal) or type(value).__name__ in ("NaTType", "datetime64")
