"""Helpers to write and read rows of targets and payloads."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from callback_sdk.errors import TargetError
from callback_sdk.redaction import Secret
from callback_sdk.service.store.cipher import CredentialCipher, CredentialCipherError
from callback_sdk.service.store.models import Submission
from callback_sdk.service.store.tables import task_payloads
from callback_sdk.targets import Target
from callback_sdk.targets.callbacks import Callback, read_stored
from callback_sdk.targets.hosts import origin, usual_name
from callback_sdk.targets.members import DEFAULT_EVENTS

_SELECT_PAYLOAD = sa.select(task_payloads.c.data).where(
    task_payloads.c.job_id == sa.bindparam("_job"), task_payloads.c.name == sa.bindparam("_name")
)


def delivery(submission: Submission, position: int, cipher: CredentialCipher) -> dict[str, Any]:
    """Return the row of one target, with its credentials encrypted."""
    return {
        "delivery_id": f"msg_{secrets.token_hex(16)}",
        "job_id": submission.task.job_id,
        "position": position,
        "output_name": submission.names[position],
        **target_columns(submission.targets[position], cipher),
    }


def target_columns(target: Callback, cipher: CredentialCipher) -> dict[str, Any]:
    """Return the columns of a target, with its credentials encrypted."""
    return {
        "encrypted_target": cipher.encrypt(Secret(json.dumps(target.plain()))),
        "url": str(target.shown_url),
        "host": usual_name(target.shown_url.host),
        "origin": origin(target.shown_url),
    }


def last_expiry(targets: Sequence[Target]) -> float | None:
    """Return the time when the last of several targets expires; None if there are none, or one never expires.

    A target with an issuer is replaced when it has expired.
    """
    times = [
        target.expires_at.timestamp()
        for target in targets
        if target.expires_at is not None and target.callback.issuer is None
    ]
    return max(times, default=None) if len(times) == len(targets) else None


def callback(encrypted: str, events: str | None, cipher: CredentialCipher) -> Callback:
    """Decrypt the target of a row.

    Args:
        encrypted: The column `encrypted_target`.
        events: The column `events`.
        cipher: Has the key.

    Raises:
        CredentialCipherError: The target was encrypted with a key that the cipher doesn't have.
        TargetError: An earlier version accepted the target, and this one doesn't.
    """
    return read_stored(Secret(json.loads(cipher.decrypt(encrypted).reveal())), events)


def events_of(column: str | None) -> frozenset[str]:
    """Return the events that a delivery's target subscribes to, from the column `events`."""
    return DEFAULT_EVENTS if column is None else frozenset(column.split(","))


def callback_param(encrypted: str, events: str | None, cipher: CredentialCipher) -> dict[str, Any] | None:
    """Return the `callback_param` of a row without credentials; None if it can't be decrypted. See `callback`."""
    try:
        return callback(encrypted, events, cipher).param
    except (CredentialCipherError, TargetError):
        return None


def payload(connection: sa.Connection, job_id: str, name: str) -> bytes | None:
    """Return a task's features or results; None if they are not in the database."""
    data: bytes | None = connection.execute(_SELECT_PAYLOAD, {"_job": job_id, "_name": name}).scalar()
    return data


def payload_column(job_id: sa.ColumnElement[str], name: str) -> sa.Label[Any]:
    """Return a column `data` for a statement: a task's features or results; null if they are not in the database.

    Args:
        job_id: The task. In a RETURNING clause it must be a parameter: on SQLite, SQLAlchemy omits the table names of
            columns there.
        name: Name of the payload.
    """
    kept = sa.select(task_payloads.c.data).where(task_payloads.c.job_id == job_id, task_payloads.c.name == name)
    return kept.scalar_subquery().label("data")


def pairs(result: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the rows of a query with two columns."""
    return ((row[0], row[1]) for row in result)
