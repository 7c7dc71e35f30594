"""Errors of invalid columns, with the column's name and the row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from callback_sdk.errors import CallbackSDKError, FeaturesError

SHOWN = 60
"""Maximum number of characters of a value in an error."""

_MAX_LENGTH = 200
"""Maximum number of characters of a library's message in an error: it may quote the data."""

DEFAULT_HINT = "Give it values of one type that Arrow and Python both hold."


class MisfitError(Exception):
    """A value is invalid in its column."""

    def __init__(self, row: int, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.row = row
        self.problem = problem
        self.hint = hint

    def at(self, row: int) -> MisfitError:
        """Return the same error for another row."""
        return MisfitError(row, self.problem, self.hint)


def column_error(name: str, problem: str, *, hint: str, row: int | None = None) -> FeaturesError:
    """Return the error for a column.

    Args:
        name: The column's name.
        problem: Description of the problem, without the final period.
        hint: How to fix it.
        row: The row, counted from 0; None for the whole column.
    """
    where = f"Column {short_repr(name)}" if row is None else f"Column {short_repr(name)}, row {row}"
    return FeaturesError(f"{where}: {problem}.", hint=hint, column=name, row=row)


@contextmanager
def translate_errors(name: str | None, row: int | None = None) -> Iterator[None]:
    """Convert exceptions of libraries and foreign classes to errors that name the column.

    Args:
        name: The column's name; None if it is unknown.
        row: The row; None if it is unknown.

    Raises:
        FeaturesError: The block raised an exception, which is the cause.
    """
    try:
        yield
    except (CallbackSDKError, MemoryError, MisfitError):
        raise
    except Exception as error:
        if name is None:
            raise FeaturesError(f"The features can't be read: {reason(error)}.", hint=DEFAULT_HINT) from error
        raise column_error(name, reason(error), row=row, hint=DEFAULT_HINT) from error


def short_repr(value: object) -> str:
    """Return the repr of a value for an error, truncated."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a foreign class; the error shows its type
        text = f"<{type(value).__name__}>"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def reason(error: Exception) -> str:
    try:
        text = " ".join(str(error).split())[:_MAX_LENGTH].rstrip(".")
    except Exception:  # noqa: BLE001 - a foreign class
        text = ""
    return text or type(error).__name__


def is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
