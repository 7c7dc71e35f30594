"""Idempotency keys: a repeated request returns the tasks of the first one."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.models import IdempotencyKey
from callback_sdk.service.store.tables import batches, idempotency_keys


class IdempotencyConflictError(CallbackSDKError, ValueError):
    """An idempotency key was reused with a different request."""


def find_job_ids(connection: sa.Connection, owner: str, key: IdempotencyKey) -> list[str] | None:
    """Return the task ids of the first request with a key; None if the key is new.

    Raises:
        IdempotencyConflictError: The key was used for a different request.
    """
    query = sa.select(idempotency_keys).where(idempotency_keys.c.owner == owner, idempotency_keys.c.key == key.key)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    if row.fingerprint != key.fingerprint:
        raise IdempotencyConflictError(
            "This Idempotency-Key was used for a different request.",
            hint="Send a new key with a new request. Repeat a request unchanged, with the same key.",
        )
    return list(row.job_ids)


def insert(
    connection: sa.Connection, owner: str, key: IdempotencyKey, job_ids: Sequence[str], *, batch: str | None
) -> None:
    """Insert a key with the ids of its tasks, and that of the task of their batch; None without one."""
    row = {"owner": owner, "key": key.key, "fingerprint": key.fingerprint, "job_ids": list(job_ids), "batch": batch}
    connection.execute(idempotency_keys.insert().values(**row, created_at=now()))


def delete(database: Database, *, older_than: float) -> int:
    """Delete keys older than `older_than` seconds, and return their number.

    Those of a batch that has not ended are kept: its last request may be missing, and a repetition sends all of them.
    """
    in_batch = sa.exists().where(batches.c.job_id == idempotency_keys.c.batch)
    old = idempotency_keys.delete().where(idempotency_keys.c.created_at < now() - older_than, ~in_batch)
    return database.write(lambda connection: connection.execute(old).rowcount)
