"""Batches: when all tasks have ended and no delivery of theirs is pending, one document tells a target so.

The document is that of a task which is inserted at the end, already finished, together with its delivery. So it is
delivered, retried and redelivered as every other one.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from callback_sdk.errors import CallbackSDKError, TargetError
from callback_sdk.models import FINISHED, outcome
from callback_sdk.service.store import rows, usage
from callback_sdk.service.store.cipher import CredentialCipher, CredentialCipherError
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.models import BATCH, DEFAULT_PRIORITY, DELIVERY_PENDING, RESULTS, NewBatch
from callback_sdk.service.store.tables import batches, deliveries, task_payloads, tasks
from callback_sdk.targets.objects import document_digest

MAX_SILENCE = timedelta(days=7)
"""Time without a request after which a batch ends whose last request has not come."""

MAX_LISTED = 100
"""Tasks without a result that the document names."""

_INCOMPLETE = (
    "The last request of the batch has not come within {days} days of the one before. The {count} tasks that were "
    "submitted have ended."
)

_ROUND = 20
"""Batches that end in one transaction."""

# These statements are built once: building one takes longer than running it.
_OF_BATCH = tasks.c.batch == sa.bindparam("_batch")
_HAS_OPEN = sa.exists().where(tasks.c.batch == batches.c.job_id, tasks.c.finished_at.is_(None))
_HAS_PENDING = sa.exists().where(
    tasks.c.batch == batches.c.job_id, deliveries.c.job_id == tasks.c.job_id, deliveries.c.status == DELIVERY_PENDING
)
_REQUESTED_AT = sa.func.coalesce(batches.c.requested_at, batches.c.created_at)
_IS_CLOSED = batches.c.is_open.is_(sa.false())
_IS_SILENT = now() - sa.bindparam("_silence", MAX_SILENCE.total_seconds()) > _REQUESTED_AT
_IS_COMPLETE = sa.and_(sa.or_(_IS_CLOSED, _IS_SILENT), ~_HAS_OPEN, ~_HAS_PENDING)
_SELECT_ANY_COMPLETE = sa.select(batches.c.job_id).where(_IS_COMPLETE).limit(1)
_LOCK_COMPLETE = sa.select(batches.c.job_id).where(_IS_COMPLETE).limit(_ROUND).with_for_update(skip_locked=True)
_SELECT_COMPLETE = sa.select(batches).where(_IS_COMPLETE, batches.c.job_id.in_(sa.bindparam("_locked", expanding=True)))
_SELECT_TASKS = sa.select(tasks.c.job_id, tasks.c.status, tasks.c.success, tasks.c.error_code).where(_OF_BATCH)
_COUNT_DELIVERIES = (
    sa.select(deliveries.c.status, sa.func.count())
    .select_from(deliveries.join(tasks))
    .where(_OF_BATCH)
    .group_by(deliveries.c.status)
)


_INSERTS: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
"""Statements with ON CONFLICT, by the dialect: two first requests may come at the same time."""


class BatchConflictError(CallbackSDKError, ValueError):
    """The requests of a batch differ in what they have to have in common."""


def add(
    connection: sa.Connection,
    batch: NewBatch,
    owner: str,
    algorithm: str,
    target: dict[str, Any],
    cipher: CredentialCipher,
) -> str:
    """Insert a batch unless an earlier request has, and return the id of its own task.

    The target of the newest request replaces that of the others: its signature is the newest, too.

    Args:
        connection: In the transaction that inserts the tasks of a request.
        batch: The batch.
        owner: Id of the user.
        algorithm: Name of the algorithm.
        target: The columns of its target.
        cipher: Decrypts the target of earlier requests.

    Raises:
        BatchConflictError: Earlier requests have another algorithm, or a target for another place or document.
    """
    insert = _INSERTS[connection.dialect.name](batches).values(
        owner=owner,
        batch_id=batch.batch_id,
        job_id=str(uuid.uuid4()),
        algorithm=algorithm,
        is_open=not batch.is_last,
        created_at=now(),
        requested_at=now(),
        **target,
    )
    changes = {
        "is_open": sa.and_(batches.c.is_open, insert.excluded.is_open),
        "requested_at": insert.excluded.requested_at,
    }
    found = connection.execute(
        insert.on_conflict_do_update(index_elements=["owner", "batch_id"], set_=changes).returning(
            batches.c.job_id, batches.c.algorithm, batches.c.encrypted_target
        )
    ).one()
    is_first = found.encrypted_target == target["encrypted_target"]
    if found.algorithm != algorithm or not (is_first or _is_same_target(batch, found.encrypted_target, cipher)):
        raise BatchConflictError(
            "Earlier requests of this batch have another algorithm or another target 'done'.",
            hint="Send the same ones in all requests of a batch, or another id for another batch. Only the signature "
            "of 'done' may be a new one.",
        )
    if not is_first:
        connection.execute(batches.update().where(batches.c.job_id == found.job_id).values(**target))
    job_id: str = found.job_id
    return job_id


def _is_same_target(batch: NewBatch, encrypted: str, cipher: CredentialCipher) -> bool:
    """Return whether a request has the target of earlier ones, which may have been signed again."""
    try:
        stored = batch.plan(rows.callback(encrypted, None, cipher))
    except (CredentialCipherError, TargetError):
        # The key is lost, or an earlier version accepted the target. A new target is what helps.
        return True
    return document_digest(stored) == document_digest(batch.plan(batch.target))


class BatchStore:
    """The batches in a database whose end a target waits for.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def end_complete(self) -> list[str]:
        """Make the documents of complete batches due, and return the ids of their tasks."""
        # Read first: looking through the tasks of large batches must not keep other writers of SQLite waiting.
        with self._database.read() as connection:
            if connection.execute(_SELECT_ANY_COMPLETE).first() is None:
                return []
        return self._database.write(_end_complete)


def _end_complete(connection: sa.Connection) -> list[str]:
    locked = list(connection.execute(_LOCK_COMPLETE).scalars())
    if not locked:
        return []
    # PostgreSQL locks the newest version of a row, and finds its tasks as they were when the statement began: without
    # those of a request that has closed the batch meanwhile. From here on, no request adds a task.
    found = connection.execute(_SELECT_COMPLETE, {"_locked": locked}).all()
    usage.add_all(connection, [(batch.owner, _end(connection, batch)) for batch in found])
    return [batch.job_id for batch in found]


def _end(connection: sa.Connection, batch: Any) -> int:
    """Replace a batch by a finished task with a delivery that is due, and return the bytes that it takes."""
    ended = connection.execute(_SELECT_TASKS, {"_batch": batch.job_id}).all()
    error, results = None, b""
    if batch.is_open:
        error = _INCOMPLETE.format(days=MAX_SILENCE.days, count=len(ended))
    else:
        counts = dict(rows.pairs(connection.execute(_COUNT_DELIVERIES, {"_batch": batch.job_id})))
        results = json.dumps(summary(ended, counts)).encode()
    connection.execute(batches.delete().where(batches.c.job_id == batch.job_id))
    connection.execute(
        tasks.insert().values(
            job_id=batch.job_id,
            owner=batch.owner,
            kind=BATCH,
            algorithm=batch.algorithm,
            version="",
            features_format="",
            parameters={},
            evaluate=False,
            options={},
            priority=DEFAULT_PRIORITY,
            status=FINISHED,
            success=error is None,
            error=error,
            stored_bytes=len(results),
            created_at=batch.created_at,
            finished_at=now(),
        )
    )
    if results:
        connection.execute(task_payloads.insert().values(job_id=batch.job_id, name=RESULTS, data=results))
    connection.execute(
        deliveries.insert().values(
            delivery_id=f"msg_{secrets.token_hex(16)}",
            job_id=batch.job_id,
            position=0,
            status=DELIVERY_PENDING,
            next_attempt_at=now(),
            **{name: getattr(batch, name) for name in ("encrypted_target", "url", "host", "origin")},
        )
    )
    return len(results)


def summary(ended: Sequence[Any], counts: dict[str, int]) -> dict[str, Any]:
    """Return the results of a batch.

    Args:
        ended: Its tasks, with `job_id`, `status`, `success` and `error_code`.
        counts: The number of their deliveries by status.
    """
    outcomes = {task.job_id: str(outcome(task.status, task.success, task.error_code)) for task in ended}
    by_outcome = Counter(outcomes.values())
    names = {name.lower(): by_outcome[name] for name in ("Succeeded", "Failed", "Expired", "Canceled")}
    others = sorted(job_id for job_id, found in outcomes.items() if found != "Succeeded")
    return {
        "tasks": {"total": len(outcomes), **names},
        "deliveries": {name: counts.get(name, 0) for name in ("delivered", "dead", "skipped")},
        "unsuccessful": others[:MAX_LISTED],
    }
