"""Columns of the outbox for output files."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from attrs import asdict

from callback_sdk.outbox.entries import OutputCopy, StoredResults
from callback_sdk.redaction import Secret
from callback_sdk.targets.callbacks import Callback, read_stored


def copies_column(stored: StoredResults) -> str | None:
    """Return the column of a result; None without output files."""
    return json.dumps([asdict(copy) for copy in stored.outputs]) if stored.outputs else None


def read_copies(column: str | None) -> tuple[OutputCopy, ...]:
    """Read the column of a result."""
    return tuple(OutputCopy(**members) for members in json.loads(column or "[]"))


def callbacks_column(callbacks: Sequence[Callback | None]) -> Secret[str | None]:
    """Return the column of a delivery, with credentials; None without output files."""
    plain = Secret([None if callback is None else callback.plain() for callback in callbacks])
    return Secret(json.dumps(plain.reveal()) if plain.reveal() else None)


def read_callbacks(column: Secret[str | None], own: Callback) -> tuple[Callback, ...]:
    """Read the column of a delivery.

    Args:
        column: The column.
        own: The target of the delivery itself.
    """
    found: dict[str, Callback] = {}
    callbacks = []
    for item in Secret(json.loads(column.reveal() or "[]")).reveal():
        text = Secret(json.dumps(item))
        if item is not None and text.reveal() not in found:
            found[text.reveal()] = read_stored(Secret(item), None)
        callbacks.append(own if item is None else found[text.reveal()])
    return tuple(callbacks)


def with_callback(
    column: Secret[str | None], copies: Sequence[OutputCopy], name: str, new: Callback
) -> Secret[str | None]:  # fmt: skip
    """Return the column of a delivery with another target of one output file.

    Args:
        column: The column.
        copies: The copies of the result's output files.
        name: Name of the file.
        new: The new target.
    """
    items = Secret(json.loads(column.reveal() or "[]"))
    pairs = zip(copies, items.reveal(), strict=True)
    return Secret(json.dumps([new.plain() if copy.name == name else item for copy, item in pairs]))


def files_of(row: sqlite3.Row) -> list[str]:
    """Return the names of the files of a result, from its columns `file` and `outputs`."""
    return StoredResults(file=row["file"], outputs=read_copies(row["outputs"])).files
