"""Parse and validate booleans, durations, sizes and lists; pure."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from callback_sdk.errors import ConfigurationError
from callback_sdk.text.descriptions import short_repr

T = TypeVar("T")

TRUE_WORDS = frozenset({"1", "true", "yes", "on", "y", "t"})
FALSE_WORDS = frozenset({"0", "false", "no", "off", "n", "f"})

DURATION_FORMAT = "a number with a unit: ms, s, m, h or d, such as 90s or 30d"

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}

SIZE_FORMAT = "a number with a unit: MB, GB, MiB or GiB, such as 512MiB or 2GB; or none"

_SIZES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_SIZES |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}

Duration = timedelta | float
"""A `timedelta`, or a number of seconds, as in HTTP clients and boto3."""


def parse_bool(text: str) -> bool:
    """Parse a boolean.

    Raises:
        ValueError: The text is neither in `TRUE_WORDS` nor in `FALSE_WORDS`.
    """
    word = text.strip().lower()
    if word not in TRUE_WORDS | FALSE_WORDS:
        raise ValueError(word)
    return word in TRUE_WORDS


def parse_duration(text: str) -> timedelta:
    """Parse a positive duration: a number followed by `ms`, `s`, `m`, `min`, `h` or `d`.

    A number without a unit is rejected: a retention of 90, meant as days, would delete everything older than 90 s.

    Raises:
        ValueError: The text is not a duration, or has no unit.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([a-z]*)", text.strip().lower())
    seconds = float(match[1]) * _UNITS.get(match[2], math.nan) if match else math.nan
    if not 0 < seconds < timedelta.max.total_seconds():
        raise ValueError(text)
    return timedelta(seconds=seconds)


def parse_size(text: str) -> float:
    """Parse a positive size in bytes, with its unit; `none` is infinity.

    A number without a unit is rejected, because 512 rarely means 512 bytes.

    Raises:
        ValueError: The text is not a size, or has no unit.
    """
    if text.strip().lower() == "none":
        return math.inf
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([A-Za-z]+)", text.strip())
    size = float(match[1]) * _SIZES.get(match[2].lower(), math.nan) if match else math.nan
    if not 1 <= size < math.inf:
        raise ValueError(text)
    return size


def to_timedelta(name: str, duration: Duration, *, zero: bool = False) -> timedelta:
    """Validate a positive duration and return it as a `timedelta`.

    Args:
        name: The argument's name, for the error.
        duration: A `timedelta`, or seconds.
        zero: Whether zero is allowed too.

    Raises:
        ConfigurationError: The value is not a duration, or is out of range.
    """
    if isinstance(duration, bool) or not isinstance(duration, (timedelta, int, float)):
        raise ConfigurationError(
            f"{name} is of type {type(duration).__name__}.",
            hint="Give seconds, or a timedelta such as timedelta(minutes=5).",
        )
    try:
        value = duration if isinstance(duration, timedelta) else timedelta(seconds=duration)
    except (OverflowError, ValueError):  # infinity and NaN
        raise ConfigurationError(
            f"{name} is {short_repr(duration)}.", hint="Give a finite number of seconds."
        ) from None
    if value < timedelta(0) or (not value and not zero):
        hint = "Must not be negative." if zero else "Must be positive."
        raise ConfigurationError(f"{name} is {duration}.", hint=hint)
    return value


def total_seconds(name: str, duration: Duration, *, zero: bool = False) -> float:
    """Validate a positive duration and return it in seconds; see `to_timedelta`."""
    return to_timedelta(name, duration, zero=zero).total_seconds()


def positive_int(name: str, value: int) -> int:
    """Validate a positive integer and return it.

    Args:
        name: The parameter's name, for the error.
        value: The number.

    Raises:
        ConfigurationError: The value is not an `int`, or less than 1.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigurationError(f"{name} is of type {type(value).__name__}.", hint="Give a whole number.")
    if value < 1:
        raise ConfigurationError(f"{name} is {short_repr(value)}.", hint="Give a whole number of at least 1.")
    return value


def path_of(name: str, value: Any) -> Path:
    """Convert a value to a `Path`.

    Args:
        name: The parameter's name, for the error.
        value: A string or a path-like object.

    Raises:
        ConfigurationError: The value is not a path, or contains a character that no file system takes.
    """
    try:
        path = Path(value)
    except TypeError:
        raise ConfigurationError(
            f"{name} is of type {type(value).__name__}.", hint="Give a path: a string or a pathlib.Path."
        ) from None
    if "\0" in str(path):
        raise ConfigurationError(f"{name} has a null character.", hint="Check how the path is made.")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise ConfigurationError(f"{name} has a lone surrogate.", hint="Check how the path is made.") from None
    return path


def several(name: str, values: Iterable[T]) -> tuple[T, ...]:
    """Return the items of an iterable that is not a string.

    Args:
        name: The parameter's name, for the error.
        values: The list, or another iterable.

    Raises:
        ConfigurationError: The value is a string or not iterable. The error doesn't quote it: it may be a secret.
    """
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise ConfigurationError(
            f"{name} is of type {type(values).__name__}, not a list.", hint=f"Give a list, such as {name}=[...]."
        )
    return tuple(values)
