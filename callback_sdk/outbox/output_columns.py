"""Columns of the outbox for output files."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from attrs import asdict

from callback_sdk.outbox.entries import OutputCopy, StoredResults
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.targets.callbacks import Callback, parse_callbacks


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
            (found[text.reveal()],) = parse_callbacks(Secret([item]))
        callbacks.append(own if item is None else found[text.reveal()])
    return tuple(callbacks)


def files_of(row: sqlite3.Row) -> list[str]:
    """Return the names of the files of a result, from its columns `file` and `outputs`."""
    return StoredResults(file=row["file"], outputs=read_copies(row["outputs"])).files


def other_targets(rows: Sequence[sqlite3.Row], delivery_id: str) -> tuple[list[tuple[str | None, Callback]], set[str]]:
    """Return the targets of a result that a new target of one delivery must not be, and the files that go to it.

    Args:
        rows: The deliveries of the result, with `id`, `target`, `url`, `outputs`, and the result's `copies`.
        delivery_id: The delivery.

    Returns:
        Name and target of output files, and None and target of documents that differ; and names of the output files
        that go below the target of the delivery.
    """
    documents = {row["id"]: _document(row) for row in rows}
    others: list[tuple[str | None, Callback]] = []
    own: set[str] = set()
    for row in rows:
        document, is_other = documents[row["id"]], row["id"] != delivery_id
        # A delivered document's parameters are deleted.
        if is_other and (row["target"] is None or document.param != documents[delivery_id].param):
            others.append((None, document))
        names = [copy.name for copy in read_copies(row["copies"])]
        for name, callback in zip(names, read_callbacks(Secret(row["outputs"]), document), strict=False):
            if is_other or callback is not document:
                others.append((name, callback))
            else:
                own.add(name)
    return others, own


def _document(row: sqlite3.Row) -> Callback:
    if row["target"] is None:
        url = SecretURL(row["url"])
        return Callback(url, shown=url)
    (callback,) = parse_callbacks(Secret([json.loads(row["target"])]))
    return callback
