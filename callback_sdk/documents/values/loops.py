"""Detect values that contain themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.documents.values.paths import member, shorten
from callback_sdk.errors import EncodingError

_MAX_DEPTH = 1500
"""Maximum depth of the search; Python's recursion limit is 1,000."""


def too_deep(value: Any, path: str, convert: Callable[[Any], Any]) -> EncodingError:
    """Return the error for a value that is nested too deeply. If it contains itself, the error has both paths.

    Args:
        value: The value.
        path: Path of the value for errors.
        convert: Converts values of other libraries, as `Conversion` does.
    """
    found = _loop(value, path, convert)
    if found is None:
        return EncodingError(
            f"{shorten(path)} is nested too deeply.", hint="Make it flatter before returning it.", path=path
        )
    inner, outer = found
    return EncodingError(
        f"{shorten(inner)} refers back to {shorten(outer)}, which thereby contains itself.",
        hint="Leave the reference out, or give an id in its place.",
        path=inner,
    )


def _loop(value: Any, path: str, convert: Callable[[Any], Any]) -> tuple[str, str] | None:
    """Return the path of a reference to an enclosing value and the path of that value; None without a loop."""
    above = {id(value): path}
    # An explicit stack, because the recursion limit has just been exceeded.
    stack = [(value, _children(value, path, convert))]
    while stack and len(stack) < _MAX_DEPTH:
        where, child = next(stack[-1][1], ("", None))
        if not where:
            above.pop(id(stack.pop()[0]))
        elif id(child) in above:
            return where, above[id(child)]
        elif not isinstance(child, (str, int, float, type(None))):
            above[id(child)] = where
            stack.append((child, _children(child, where, convert)))
    return None


def _children(value: Any, path: str, convert: Callable[[Any], Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return ((member(path, key), item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ((f"{path}[{index}]", item) for index, item in enumerate(value))
    try:
        plainer = convert(value)
    except uninterrupted(Exception):  # a value that can't be converted is not part of a loop
        return iter(())
    return _children(plainer, path, convert) if isinstance(plainer, (dict, list, tuple)) else iter(())
