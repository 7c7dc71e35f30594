"""Tables in JSON: an object of columns with unique names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from callback_sdk.documents.values.keys import key_text


def columns(
    names: Sequence[Any], parts: Iterable[Any], *, what: str = "columns", hint: str = "Rename one."
) -> dict[str, Any]:
    """Return a dict of columns by name.

    Args:
        names: The names, such as the columns of a DataFrame.
        parts: The values of each column.
        what: Noun for the names in errors.
        hint: Hint for the error if two names encode to the same string.

    Raises:
        TypeError: A name can't be a JSON key, or two names encode to the same string.
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
