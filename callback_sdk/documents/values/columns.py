"""Tables in JSON: an object of columns, each with a name of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from callback_sdk.documents.values.keys import key_text


def columns(
    names: Sequence[Any], parts: Iterable[Any], *, what: str = "columns", hint: str = "Rename one."
) -> dict[str, Any]:
    """Return what belongs to each name.

    Args:
        names: The columns of a table, for one.
        parts: What belongs to each.
        what: What errors call the names.
        hint: What to do if two encode to the same string.

    Raises:
        TypeError: JSON can't hold a name, or writes two alike.
    """
    texts = [key_text(name) for name in names]
    table = dict(zip(texts, parts, strict=True))
    if len(table) < len(names):
        seen: dict[str, Any] = {}
        for text, name in zip(texts, names, strict=True):
            if text in seen:
                raise TypeError(f"Two of its {what} encode to the same string, {seen[text]!r} and {name!r}. {hint}")
            seen[text] = name
    return table
