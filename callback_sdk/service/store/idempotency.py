"""Idempotency keys: what makes a repeated request the same request."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.models import IdempotencyKey
from callback_sdk.service.store.tables import idempotency_keys


class IdempotencyConflictError(CallbackSDKError, ValueError):
    """An idempotency key came again with another request."""


def known(connection: sa.Connection, owner: str, key: IdempotencyKey) -> list[str] | None:
    """Return the tasks of the first request with a key; None when this is the first.

    Raises:
        IdempotencyConflictError: The first request was another one.
    """
    query = sa.select(idempotency_keys).where(idempotency_keys.c.owner == owner, idempotency_keys.c.key == key.key)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    if row.fingerprint != key.fingerprint:
        raise IdempotencyConflictError(
            "This Idempotency-Key came before with another request.",
            hint="Send a new key with a new request, and the same request with the same key.",
        )
    return list(row.job_ids)


def remember(connection: sa.Connection, owner: str, key: IdempotencyKey, job_ids: Sequence[str]) -> None:
    """Keep a key together with its tasks."""
    row = {"owner": owner, "key": key.key, "fingerprint": key.fingerprint, "job_ids": list(job_ids)}
    connection.execute(idempotency_keys.insert().values(**row, created_at=now()))


def forget(database: Database, *, older_than: float) -> int:
    """Forget keys, in seconds of age, and return how many."""
    old = idempotency_keys.delete().where(idempotency_keys.c.created_at < now() - older_than)
    return database.write(lambda connection: connection.execute(old).rowcount)
