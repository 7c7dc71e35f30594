"""Encode any value as JSON, as specified in docs/values.md.

The fast path is orjson. Values that it can't write (integers beyond 64 bits, lone surrogates, keys of other libraries)
take the slow path through plain Python values, which also finds the path of an invalid value for errors.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Iterable
from itertools import chain, zip_longest
from typing import Any

import orjson

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.concurrency.interrupts import is_interrupt, uninterrupted
from callback_sdk.documents.values.conversion import KNOWN, Conversion, is_array
from callback_sdk.documents.values.encoded import EncodedValue
from callback_sdk.errors import CallbackSDKError, EncodingError

_OPTION = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS
"""orjson omits some fields of dataclasses, and all fields of dataclasses derived from dict or list; see `standard`."""

_NULL = re.compile(b"null")
"""A pattern, because its search is twice as fast as `in`."""

_UTC = b'+00:00"'
"""End of a datetime with a UTC offset of zero, or of up to +29 seconds, which orjson rounds to zero."""

_OFFSET = re.compile(rb'T\d\d:\d\d:\d\d(?:\.\d{6})?(?:-|\+(?!00:00"))')
"""A datetime with another UTC offset. orjson rounds offsets to minutes; offsets before about 1900 have seconds."""

_FRACTION = re.compile(rb':\d\d\.\d{5}"')
"""A time of day with five fractional digits: orjson 3.11 to 3.13 drops a leading zero of the fraction."""

_DROPS_ZEROS = orjson.dumps(dt.time(microsecond=10_000)) != b'"00:00:00.010000"'

_PLACEHOLDER = b"\xff"
"""Placeholder for an array that is stored separately. This byte never occurs in UTF-8."""

_LARGE = 65536
"""Minimum size of an array whose JSON is not copied into the document, so that it isn't in memory twice."""


def encode(value: Any, *, path: str = "results", only_finite: bool = False) -> EncodedValue:
    """Encode a value as JSON, as specified in docs/values.md.

    Args:
        value: The value.
        path: Path of the value for errors.
        only_finite: Whether NaN, infinities and NaT are errors; otherwise they become null.

    Raises:
        EncodingError: A value can't be represented in JSON; the error has its path.
    """
    try:
        return _encode(value, path, only_finite=only_finite)
    except (CallbackSDKError, MemoryError):
        raise
    except uninterrupted(Exception) as error:
        raise EncodingError(
            f"{path} can't be written as JSON: reading it raised {type(error).__name__}.",
            hint="Turn it into numbers, strings, lists and dicts first.",
            path=path,
        ) from error


def _encode(value: Any, path: str, *, only_finite: bool) -> EncodedValue:
    convert = Conversion()
    encoded = _encode_fast(value, convert)
    if encoded is None:
        data = _encode_slowly(value, path, convert)
        nonfinite, _ = _survey(value, convert, _count_nulls([data]))
        encoded = EncodedValue((data,), nonfinite)
    if encoded.nulls_written and only_finite:
        # Raises an error with the path.
        _plain(value, path, convert, only_finite=True)
    return encoded


def _plain(value: Any, path: str, convert: Callable[[Any], Any], *, only_finite: bool = False) -> Any:
    # Imported here, like `walk` below, because orjson writes most documents alone.
    with no_fork:
        from callback_sdk.documents.values.plain import Plain

    return Plain(convert, only_finite=only_finite).value(value, path)


def _survey(value: Any, convert: Callable[[Any], Any], nulls: int, utc_offsets: int = 0) -> tuple[int, bool]:
    """Return the number of NaN, infinities and NaT, and whether a UTC offset isn't a whole number of minutes.

    Args:
        value: The encoded value.
        convert: Converts values of other libraries.
        nulls: Nulls in its text.
        utc_offsets: UTC offsets of zero in its text.
    """
    if not nulls and not utc_offsets:
        return 0, False
    with no_fork:
        from callback_sdk.documents.values.walk import Survey

    survey = Survey(nulls, utc_offsets)
    survey.search(value, convert)
    return survey.nonfinite, survey.has_seconds


def _has_plain_keys(value: Any, convert: Callable[[Any], Any]) -> bool:
    with no_fork:
        from callback_sdk.documents.values.walk import has_plain_keys

    return has_plain_keys(value, convert)


def _count_nulls(parts: Iterable[bytes]) -> int:
    """Return an upper bound for the number of nulls in JSON: the word may also occur in strings."""
    return sum(part.count(b"null") for part in parts if _NULL.search(part))


def _encode_fast(value: Any, convert: Callable[[Any], Any]) -> EncodedValue | None:
    """Encode a value with orjson; return None if it can't, or if two keys would encode to the same string."""
    try:
        return _dump(value, convert, _OPTION)
    except TypeError as error:
        # If another version of orjson has a different message, the slow path is taken, which only costs time.
        if "key" not in str(_raise_interrupt(error)) or not _has_plain_keys(value, convert):
            return None
    try:
        return _dump(value, convert, _OPTION | orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        _raise_interrupt(error)
        return None


def _raise_interrupt(error: TypeError) -> TypeError:
    """Return an error of orjson, or raise its cause if that has interrupted a conversion, such as Ctrl-C."""
    if error.__cause__ is not None and is_interrupt(error.__cause__):
        raise error.__cause__
    return error


def _dump(value: Any, convert: Callable[[Any], Any], option: int) -> EncodedValue:
    arrays: list[bytes] = []
    known = KNOWN

    def default(part: Any) -> Any:
        converter = known.get(type(part))
        if converter is not None:
            return converter(part)
        return _array(part, arrays, convert) if is_array(part) else convert(part)

    data = orjson.dumps(value, default=default, option=option)
    utc_offsets = data.count(_UTC)
    inexact = _has_inexact_times(data, utc_offsets)
    nulls = _count_nulls([data, *arrays])
    nonfinite, has_seconds = _survey(value, convert, nulls, 0 if inexact else utc_offsets)
    if inexact or has_seconds:
        arrays.clear()
        data = orjson.dumps(value, default=default, option=option | orjson.OPT_PASSTHROUGH_DATETIME)
    return EncodedValue(_join(data, arrays), nonfinite)


def _has_inexact_times(data: bytes, utc_offsets: int) -> bool:
    """Return whether orjson may have written a time inexactly, not counting datetimes with the offset `_UTC`."""
    if _DROPS_ZEROS and _FRACTION.search(data):
        return True
    # Each datetime contains a T. If there are as many T as offsets of zero, and the survey finds a datetime for each of
    # them, there are no other datetimes. Counting a byte takes a third of the time of the pattern.
    return data.count(b"T") != utc_offsets and _OFFSET.search(data) is not None


def _array(array: Any, arrays: list[bytes], convert: Callable[[Any], Any]) -> Any:
    with no_fork:
        from callback_sdk.documents.values import numpy

    native = numpy.native(array)
    if native is None:
        return convert(array)
    data = numpy.dump(native)
    if native.size < _LARGE:
        return orjson.Fragment(data)
    arrays.append(data)
    return orjson.Fragment(_PLACEHOLDER)


def _join(data: bytes, arrays: list[bytes]) -> tuple[bytes, ...]:
    if not arrays:
        return (data,)
    pieces = data.split(_PLACEHOLDER)
    if len(pieces) != len(arrays) + 1:
        raise TypeError("a foreign orjson.Fragment is not UTF-8")
    return tuple(part for part in chain.from_iterable(zip_longest(pieces, arrays, fillvalue=b"")) if part)


def _encode_slowly(value: Any, path: str, convert: Callable[[Any], Any]) -> bytes:
    plain = _plain(value, path, convert)
    try:
        text = json.dumps(plain, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise EncodingError(
            f"{path} is nested too deeply.", hint="Make it flatter before returning it.", path=path
        ) from None
    try:
        return text.encode()
    except UnicodeEncodeError:
        # UTF-8 can't encode a lone surrogate, but JSON can escape it.
        return json.dumps(plain, separators=(",", ":"), allow_nan=False).encode()
