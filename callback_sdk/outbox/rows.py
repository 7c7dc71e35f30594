"""Rows of the outbox's database: their columns from values, and back."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime, timezone

from callback_sdk.documents.document import encode
from callback_sdk.models import JobResult
from callback_sdk.outbox.entries import NewDelivery, OutboxEntry
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import Secret
from callback_sdk.targets.callbacks import Callback, read_stored
from callback_sdk.targets.hosts import port_of, usual_name


def target_columns(delivery: NewDelivery) -> Secret[tuple[str, str, str, str, str | None, str | None]]:
    """Return the kind, URL, host, target, events and object's URL of a row."""
    url, plain, events = delivery.callback.url, Secret(delivery.callback.plain()), delivery.callback.stored_events
    place = None if delivery.object_url is None else text_column(delivery.object_url)
    host = text_column(f"{usual_name(url.host)}:{port_of(url)}")
    columns = (delivery.target_kind, text_column(str(url)), host, json.dumps(plain.reveal()), events, place)
    return Secret(columns)


def job_column(job: JobResult) -> str:
    """Return a result without its results, as JSON."""
    members = {"job_id": job.job_id, "success": job.success, "error": job.error, "status": job.status}
    return encode(members, path="result").data.decode()


def read_callback(row: sqlite3.Row) -> Callback:
    """Return the callback of a row, from its columns `target` and `events`."""
    return read_stored(Secret(json.loads(row["target"])), row["events"])


def read_entry(row: sqlite3.Row) -> OutboxEntry:
    """Return the entry of a row."""
    return OutboxEntry(
        delivery_id=row["id"],
        job_id=row["job_id"],
        target_kind=row["target_kind"],
        url=row["url"],
        status=row["status"],
        sending=bool(row["sending"]),
        attempts=row["attempts"],
        next_attempt_at=_time(row["next_attempt_at"]),
        error=row["error"],
        receipt=Receipt.from_dict(json.loads(row["receipt"])) if row["receipt"] else None,
        created_at=datetime.fromtimestamp(row["created_at"], timezone.utc),
        finished_at=_time(row["finished_at"]),
    )


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)


def text_column(text: str) -> str:
    """Return a text that SQLite can store."""
    # SQLite's encoding is UTF-8, which has no lone surrogates. Python represents file names with bytes that
    # aren't UTF-8 by lone surrogates (PEP 383).
    return text.encode("utf-8", "backslashreplace").decode()
