"""The objects of a result's deliveries, from what the outbox has stored of their targets."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from urllib.parse import unquote

from callback_sdk.errors import OutputError, TargetError
from callback_sdk.outbox.entries import OutputCopy
from callback_sdk.outbox.output_columns import read_callbacks, read_copies
from callback_sdk.outbox.rows import read_callback
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.targets import Target
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.places import Places, ResultTarget

Plan = Callable[[Callback], Target]
"""Returns the target of a callback."""

_SELECT_TARGETS = (
    "SELECT deliveries.id, result, target, events, url, deliveries.object_url, deliveries.outputs AS outputs, "
    "results.outputs AS copies FROM deliveries JOIN results ON results.id = result "
    "WHERE result = (SELECT result FROM deliveries WHERE id = ?)"
)


class ResultPlaces:
    """The objects of the result of a delivery.

    Args:
        connection: A connection in a transaction.
        delivery_id: The delivery.
        plan: Returns the target of a callback.
    """

    def __init__(self, connection: sqlite3.Connection, delivery_id: str, plan: Plan) -> None:
        self._plan = plan
        self._places = Places()
        self._below: dict[str, frozenset[str]] = {}
        rows = connection.execute(_SELECT_TARGETS, (delivery_id,)).fetchall()
        for row in rows:
            if row["target"] is None:
                self._put_delivered(row)
            else:
                self._put_row(row)
        if any(row["target"] is None for row in rows):
            sent = connection.execute("SELECT file FROM sent_outputs WHERE result = ?", (rows[0]["result"],)).fetchall()
            self._put_sent(read_copies(rows[0]["copies"]), [json.loads(one["file"])["entry"] for one in sent])

    def replace(self, delivery_id: str, target: Target) -> None:
        """Replace the target of a delivery's document, and of the files below its prefix.

        Raises:
            InvalidTargetError: One of its objects is that of another delivery.
        """
        files = self._below[delivery_id] if target.takes_outputs() else None
        self._places.replace(delivery_id, ResultTarget(target=target, files=files))

    def replace_file(self, delivery_id: str, name: str, target: Target) -> None:
        """Replace the target of an output file of a delivery; see `replace`."""
        self._places.replace((delivery_id, name), ResultTarget.of_file(name, target))

    def _put_row(self, row: sqlite3.Row) -> None:
        document = read_callback(row)
        names = [copy.name for copy in read_copies(row["copies"])]
        files = list(zip(names, read_callbacks(Secret(row["outputs"]), document), strict=False))
        self._below[row["id"]] = frozenset(name for name, callback in files if callback is document)
        # A target that is invalid by now: its delivery fails with the reason.
        with suppress(TargetError):
            self._places.put(row["id"], ResultTarget(target=self._plan(document), files=self._below[row["id"]]))
        for name, callback in files:
            if callback is not document:
                with suppress(TargetError, OutputError):
                    self._places.put((row["id"], name), ResultTarget.of_file(name, self._plan(callback)))

    def _put_delivered(self, row: sqlite3.Row) -> None:
        """Put a document of which the `callback_param` is deleted, so that no other one counts as the same."""
        url = SecretURL(row["object_url"] or row["url"])
        self._below[row["id"]] = frozenset()
        self._places.put(row["id"], ResultTarget(target=Target(callback=Callback(url, {"id": row["id"]}, shown=url))))

    def _put_sent(self, copies: Sequence[OutputCopy], entries: Sequence[dict[str, str]]) -> None:
        """Put the files of delivered documents, whose targets are deleted, by what the documents list."""
        names = defaultdict(list)
        for copy in copies:
            names[copy.sha256].append(copy.name)
        for number, entry in enumerate(entries):
            if entry["url"] is not None:
                url = SecretURL(entry["url"])
                place = Target(callback=Callback(url, shown=url))
                name = max((one for one in names[entry["sha256"]] if unquote(url.path).endswith(one)), default=None)
                if name is not None:
                    self._places.put(number, ResultTarget.of_file(name, place))
