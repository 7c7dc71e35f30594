"""Why a column can't be features: errors that name the column and the row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from callback_sdk.errors import CallbackSDKError, FeaturesError

SHOWN = 60
"""Characters of a value that an error shows."""

_LONGEST = 200
"""Characters of a library's own reason that an error shows: it may quote the data."""

USUAL_HINT = "Give it values of one type that Arrow and Python both hold."


class MisfitError(Exception):
    """A value that its column can't hold."""

    def __init__(self, row: int, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.row = row
        self.problem = problem
        self.hint = hint

    def at(self, row: int) -> MisfitError:
        """Return the same for the row that the value lies in."""
        return MisfitError(row, self.problem, self.hint)


def refused(name: str, problem: str, *, hint: str, row: int | None = None) -> FeaturesError:
    """Return the error for a column.

    Args:
        name: The column.
        problem: What is wrong with it, as the end of a sentence.
        hint: What to do.
        row: Where, counted from 0; None for the whole column.
    """
    where = f"Column {shown(name)}" if row is None else f"Column {shown(name)}, row {row}"
    return FeaturesError(f"{where}: {problem}.", hint=hint, column=name, row=row)


@contextmanager
def explained(name: str | None, row: int | None = None) -> Iterator[None]:
    """Turn whatever a library or somebody's class raises into an error that names the column.

    Args:
        name: The column; None when it may be any.
        row: The row, where one value is looked at.

    Raises:
        FeaturesError: Something was raised; it is the cause.
    """
    try:
        yield
    except (CallbackSDKError, MemoryError, MisfitError):
        raise
    except Exception as error:
        if name is None:
            raise FeaturesError(f"The features can't be read: {reason(error)}.", hint=USUAL_HINT) from error
        raise refused(name, reason(error), row=row, hint=USUAL_HINT) from error


def shown(value: object) -> str:
    """Return a value for an error, not longer than a line."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - somebody's class; the error tells its type
        text = f"<{type(value).__name__}>"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def reason(error: Exception) -> str:
    try:
        text = " ".join(str(error).split())[:_LONGEST].rstrip(".")
    except Exception:  # noqa: BLE001 - somebody's class
        text = ""
    return text or type(error).__name__


def is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
