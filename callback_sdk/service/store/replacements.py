"""New targets of deliveries, given by users and by issuers."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from attrs import define, evolve

from callback_sdk.errors import InvalidTargetError, OutputError, TargetError
from callback_sdk.service.store import rows
from callback_sdk.service.store.cipher import CredentialCipher, CredentialCipherError
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.tables import deliveries, delivery_attempts, tasks
from callback_sdk.service.store.task_places import Plan, TaskPlaces, lock_targets
from callback_sdk.targets import Target, plan
from callback_sdk.targets.callbacks import Callback

_SELECT_TARGET = sa.select(deliveries.c.encrypted_target, deliveries.c.events).where(
    deliveries.c.delivery_id == sa.bindparam("_delivery", type_=sa.String)
)


@define(frozen=True, kw_only=True)
class NewTarget:
    """A new target of a delivery.

    Attributes:
        target: The target.
        plan: Returns the targets of the task's other callbacks.
    """

    target: Target
    plan: Plan = plan

    def columns(
        self, connection: sa.Connection, cipher: CredentialCipher, job_id: str, delivery_id: str
    ) -> dict[str, Any]:  # fmt: skip
        """Return the columns of the delivery with this target, if it is not the object of another delivery.

        Args:
            connection: A connection in a transaction.
            cipher: Decrypts the old target, and encrypts the new one.
            job_id: The task.
            delivery_id: The delivery.

        Raises:
            CallbackParamError: The target's `callback_param` would change the document.
            InvalidTargetError: One of its objects is that of another delivery, or it takes documents only.
        """
        lock_targets(connection, job_id)
        places = TaskPlaces(connection, cipher, job_id, self.plan)
        row = connection.execute(_SELECT_TARGET, {"_delivery": delivery_id}).one()
        new = evolve(self.target, callback=_replace(row, self.target.callback, cipher))
        try:
            places.replace(delivery_id, new)
        except OutputError as error:
            raise InvalidTargetError(error.message, hint=error.hint, url=str(new.callback.shown_url)) from None
        return rows.target_columns(new.callback, cipher)

    def store(self, connection: sa.Connection, cipher: CredentialCipher, job_id: str, delivery_id: str) -> None:
        """Replace the target of a delivery, and overwrite the credentials of the old one; see `columns`.

        The claim of a running attempt is taken away, so that its outcome isn't recorded as that of the new target.

        Args:
            connection: A connection in a transaction.
            cipher: Decrypts the old target, and encrypts the new one.
            job_id: The task.
            delivery_id: The delivery.
        """
        values = self.columns(connection, cipher, job_id, delivery_id)
        one = deliveries.c.delivery_id == delivery_id
        row = connection.execute(sa.select(deliveries).where(one).with_for_update()).one()
        if row.worker is not None:
            _end_attempt(connection, row)
            values |= {"worker": None, "heartbeat_at": None, "attempt_count": row.attempt_count + 1}
        connection.execute(deliveries.update().where(one).values(values))


def update_expiry(connection: sa.Connection, cipher: CredentialCipher, job_id: str) -> None:
    """Update the time when the last target of a task expires, from which it isn't started any more."""
    columns = (deliveries.c.encrypted_target, deliveries.c.events)
    found = connection.execute(sa.select(*columns).where(deliveries.c.job_id == job_id))
    try:
        expires_at = rows.last_expiry([plan(rows.callback(*row, cipher)) for row in found])
    except (CredentialCipherError, TargetError):
        # Its delivery will fail with the reason.
        expires_at = None
    connection.execute(tasks.update().where(tasks.c.job_id == job_id).values(targets_expire_at=expires_at))


def _replace(row: Any, new: Callback, cipher: CredentialCipher) -> Callback:
    try:
        old = rows.callback(row.encrypted_target, row.events, cipher)
    except (CredentialCipherError, TargetError):
        # The key is lost, or an earlier version accepted the target. A new target is what helps.
        return evolve(new, events=rows.events_of(row.events))
    return old.replaced_by(new)


def _end_attempt(connection: sa.Connection, row: Any) -> None:
    attempt = delivery_attempts.c
    connection.execute(
        delivery_attempts.update()
        .where(attempt.delivery_id == row.delivery_id, attempt.number == row.attempt_count)
        .values(
            finished_at=now(),
            error=f"The target was replaced during this attempt, which may have delivered the result to {row.url}.",
        )
    )
