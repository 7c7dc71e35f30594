"""Descriptions of foreign values and texts, for errors."""

from __future__ import annotations

from collections.abc import Iterable

_MAX_NAMES = 1000
_MAX_LENGTH = 100
"""Maximum number of names, and of characters of each, that are compared."""


def similar(name: str, names: Iterable[str]) -> str:
    """Return a question with up to three similar names, to be appended to a text; empty if there are none."""
    # Imported here, because few processes need it.
    import difflib
    import itertools

    known = [one[:_MAX_LENGTH] for one in itertools.islice(names, _MAX_NAMES)]
    close = difflib.get_close_matches(name[:_MAX_LENGTH], known, n=3)
    return f" Did you mean {' or '.join(repr(match) for match in close)}?" if close else ""


def sentence(text: str) -> str:
    """Return a foreign text unchanged, but with a final full stop."""
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def type_name(value: object) -> str:
    """Return the name of a value's type with its module: NumPy has its own bool, and any table is a DataFrame."""
    kind = type(value)
    return (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )


def short_repr(value: object) -> str:
    """Return the repr of any value for an error, at most 100 characters long.

    repr() raises for integers of more than 4,300 digits (CVE-2020-10735), for values that nest thousands deep, and for
    objects of foreign classes.
    """
    try:
        return f"{value!r:.100}"
    except Exception:  # noqa: BLE001 - a foreign class may raise anything
        return f"a value of type {type_name(value)}"
