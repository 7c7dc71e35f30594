"""Replacement of a delivery's target by a user's new one."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from attrs import define

from callback_sdk.errors import TargetError
from callback_sdk.service.store import rows
from callback_sdk.service.store.cipher import CredentialCipher, CredentialCipherError
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.tables import deliveries, delivery_attempts, tasks
from callback_sdk.targets import plan
from callback_sdk.targets.callbacks import Callback


@define(frozen=True, kw_only=True)
class TargetReplacement:
    """The replacement of a delivery's target.

    Attributes:
        delivery_id: The delivery.
        target: The new target.
    """

    delivery_id: str
    target: Callback

    def apply(self, connection: sa.Connection, cipher: CredentialCipher) -> None:
        """Replace the target, and overwrite the credentials of the old one.

        The claim of a running attempt is taken away, so that its outcome isn't recorded as that of the new target.

        Args:
            connection: A connection in a transaction.
            cipher: Encrypts the target.

        Raises:
            CallbackParamError: The new target's `callback_param` would change the document.
        """
        one = deliveries.c.delivery_id == self.delivery_id
        row = connection.execute(sa.select(deliveries).where(one).with_for_update()).one()
        values: dict[str, Any] = rows.target_columns(_replaced(row.encrypted_target, self.target, cipher), cipher)
        if row.worker is not None:
            _end_attempt(connection, row)
            values |= {"worker": None, "heartbeat_at": None, "attempt_count": row.attempt_count + 1}
        connection.execute(deliveries.update().where(one).values(values))


def update_expiry(connection: sa.Connection, cipher: CredentialCipher, job_id: str) -> None:
    """Update the time when the last target of a task expires, from which it isn't started any more."""
    encrypted = connection.execute(sa.select(deliveries.c.encrypted_target).where(deliveries.c.job_id == job_id))
    try:
        expires_at = rows.last_expiry([plan(rows.callback(target, cipher)) for target in encrypted.scalars()])
    except (CredentialCipherError, TargetError):
        # Its delivery will fail with the reason.
        expires_at = None
    connection.execute(tasks.update().where(tasks.c.job_id == job_id).values(targets_expire_at=expires_at))


def _replaced(encrypted: str, new: Callback, cipher: CredentialCipher) -> Callback:
    try:
        old = rows.callback(encrypted, cipher)
    except (CredentialCipherError, TargetError):
        # The key is lost, or an earlier version accepted the target. A new target is what helps.
        return new
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
