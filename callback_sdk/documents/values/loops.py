"""Where a value contains itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from callback_sdk.documents.values.paths import member, shortened
from callback_sdk.errors import EncodingError

_DEEPEST = 1500
"""Levels after which the search gives up; Python's own stack has room for 1,000."""


def too_deep(value: Any, path: str, convert: Callable[[Any], Any]) -> EncodingError:
    """Return the error for a value that is nested too deeply; it tells where the value contains itself, if it does.

    Args:
        value: The value.
        path: What errors call it.
        convert: Makes values of other libraries plainer, as `Conversion` does.
    """
    found = _loop(value, path, convert)
    if found is None:
        return EncodingError(
            f"{shortened(path)} is nested too deeply.", hint="Make it flatter before returning it.", path=path
        )
    inner, outer = found
    return EncodingError(
        f"{shortened(inner)} refers back to {shortened(outer)}, which thereby contains itself.",
        hint="Leave the reference out, or give an id in its place.",
        path=inner,
    )


def _loop(value: Any, path: str, convert: Callable[[Any], Any]) -> tuple[str, str] | None:
    """Return the place of a value that it lies in itself, and the place where that is first."""
    above = {id(value): path}
    # An explicit stack, as Python's own has just been too small.
    stack = [(value, _children(value, path, convert))]
    while stack and len(stack) < _DEEPEST:
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
    except Exception:  # noqa: BLE001 - it is no loop that is wrong with this one
        return iter(())
    return _children(plainer, path, convert) if isinstance(plainer, (dict, list, tuple)) else iter(())
