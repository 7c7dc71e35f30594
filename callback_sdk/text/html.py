"""HTML representations of objects and lists for notebooks: small tables in which every value is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, SupportsIndex, TypeVar, overload

_MAX_LENGTH = 200
"""Maximum number of characters shown of a value."""

_MAX_ROWS = 50
"""Maximum number of rows shown of a list."""


class HTMLRepr:
    """Base class of objects that a notebook shows as a table of their `_html_fields`."""

    __slots__ = ()

    def _html_fields(self) -> Mapping[str, Any]:
        """Return the values to show by name, without credentials; None is left out."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        facts = {name: value for name, value in self._html_fields().items() if value is not None}
        return _table(type(self).__name__, (_head(name, "row") + _cell(value) for name, value in facts.items()))


T = TypeVar("T", bound=HTMLRepr)


class HTMLList(list[T]):
    """List that a notebook shows as a table with one row per item. A slice is shown in the same way."""

    __slots__ = ()

    @overload
    def __getitem__(self, index: SupportsIndex) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> HTMLList[T]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> T | HTMLList[T]:
        return HTMLList(super().__getitem__(index)) if isinstance(index, slice) else super().__getitem__(index)

    def _repr_html_(self) -> str:
        facts = [item._html_fields() for item in self[:_MAX_ROWS]]
        names = [name for name in (facts[0] if facts else ()) if any(one[name] is not None for one in facts)]
        caption = f"{len(self)} in all" if len(self) <= _MAX_ROWS else f"The first {_MAX_ROWS} of {len(self)}"
        head = "".join(_head(name, "col") for name in names)
        return _table(caption, [head, *("".join(_cell(one[name]) for name in names) for one in facts)])


class SafeHTML(str):
    """HTML that is already escaped."""

    __slots__ = ()


def progress(fraction: float | None, message: str) -> SafeHTML | str | None:
    """Return a progress bar with the message; only the message when the fraction is unknown."""
    if fraction is None:
        return message or None
    percent = f"{fraction:.0%}"
    return SafeHTML(f'<progress value="{fraction:.3f}" aria-label="{percent}"></progress> {percent} {_escape(message)}')


def nested_table(items: Iterable[HTMLRepr]) -> SafeHTML | None:
    """Return a list as a table inside another one; None when it is empty."""
    found = HTMLList(items)
    return SafeHTML(found._repr_html_()) if found else None


def _escape(text: str) -> str:
    """Escape text for HTML. The import is local, because only notebooks need it."""
    import html

    return html.escape(text)


def _table(caption: str, rows: Iterable[str]) -> str:
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><caption>{_escape(caption)}</caption>{body}</table>"


def _head(name: str, scope: str) -> str:
    return f'<th scope="{scope}">{_escape(name)}</th>'


def _cell(value: Any) -> str:
    return f'<td style="text-align: left">{_text(value)}</td>'


def _text(value: Any) -> str:
    if isinstance(value, SafeHTML):
        return value
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    return _escape(text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH - 1]}…")
