"""The objects of a task's deliveries, from the targets and the output files that are stored."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from attrs import evolve

from callback_sdk.errors import OutputError, TargetError
from callback_sdk.redaction import SecretURL
from callback_sdk.service.store import rows
from callback_sdk.service.store.cipher import CredentialCipher, CredentialCipherError
from callback_sdk.service.store.tables import deliveries, outputs, tasks
from callback_sdk.targets import Target
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.places import Places, ResultTarget, check_takes_files

Plan = Callable[[Callback], Target]
"""Returns the target of a callback."""

_LOCK = int.from_bytes(b"tgts", "big")
"""An arbitrary key of PostgreSQL's advisory locks."""

# These statements are built once: building one takes longer than running it.
_JOB_ID: sa.BindParameter[str] = sa.bindparam("_job")
_SELECT_TARGETS = sa.select(
    deliveries.c.delivery_id,
    deliveries.c.output_name,
    deliveries.c.encrypted_target,
    deliveries.c.events,
    deliveries.c.url,
).where(deliveries.c.job_id == _JOB_ID)
_SELECT_FILES = (
    sa.select(outputs.c.name)
    .join(tasks, sa.and_(outputs.c.job_id == tasks.c.job_id, outputs.c.attempt == tasks.c.output_attempt))
    .where(outputs.c.job_id == _JOB_ID)
)


def lock_targets(connection: sa.Connection, job_id: str) -> None:
    """Let no other transaction replace a target of a task until this one has ended.

    SQLite has one writer at a time. On PostgreSQL rows are not what is locked: the end of an attempt locks its delivery
    first, and then the task and the other deliveries.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK, sa.func.hashtext(job_id))))


class TaskPlaces:
    """The objects of a task's deliveries.

    Args:
        connection: A connection to the database.
        cipher: Decrypts the targets.
        job_id: The task.
        plan: Returns the target of a callback.
    """

    def __init__(self, connection: sa.Connection, cipher: CredentialCipher, job_id: str, plan: Plan) -> None:
        self._cipher = cipher
        self._plan = plan
        found = connection.execute(_SELECT_TARGETS, {"_job": job_id}).all()
        self._names: dict[str, str | None] = {row.delivery_id: row.output_name for row in found}
        self._files = frozenset(connection.execute(_SELECT_FILES, {"_job": job_id}).scalars()) - set(
            self._names.values()
        )
        self._places = Places()
        self._sent: dict[str, ResultTarget] = {}
        for row in found:
            # A target that no key opens, or that an earlier version accepted: its delivery fails with the reason.
            with suppress(CredentialCipherError, TargetError, OutputError):
                sent = self._sent[row.delivery_id] = ResultTarget.of(row.output_name, self._target(row), self._files)
                self._places.put(row.delivery_id, sent)

    def replace(self, delivery_id: str, target: Target) -> None:
        """Replace the target of a delivery.

        Raises:
            InvalidTargetError: One of its objects is that of another delivery, or it takes documents only.
            OutputError: The key of a file would be too long.
        """
        name = self._names[delivery_id]
        if name is not None:
            check_takes_files(name, target, is_new=True)
        self._places.replace(delivery_id, ResultTarget.of(name, target, self._files))

    def check_files(self, delivery_id: str) -> None:
        """Check the output files below the prefix of a delivery's target: they are known only since the task's end.

        Raises:
            OutputError: One is the object of another delivery.
        """
        self._places.add(delivery_id, self._sent[delivery_id])

    def _target(self, row: Any) -> Target:
        callback = rows.callback(row.encrypted_target, row.events, self._cipher)
        if callback.is_results:
            # The URL of its object is shown.
            return Target(callback=evolve(callback, shown=SecretURL(row.url).with_public_path()))
        return self._plan(callback)
