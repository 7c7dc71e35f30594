"""Redeliveries: deliveries of ended tasks are made due again."""

from __future__ import annotations

import sqlalchemy as sa
from attrs import define

from callback_sdk.models import IN_PROGRESS, PENDING
from callback_sdk.service.store.cipher import CredentialCipher
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.holds import NOT_HELD
from callback_sdk.service.store.models import DELIVERY_PENDING, SKIPPED
from callback_sdk.service.store.replacements import NewTarget, update_expiry
from callback_sdk.service.store.tables import delivered_outputs, deliveries, tasks


@define(frozen=True, kw_only=True)
class Redelivery:
    """The redelivery of one delivery.

    Attributes:
        job_id: The task.
        delivery_id: The delivery.
        new: Replaces the delivery's target; None to keep it.
    """

    job_id: str
    delivery_id: str
    new: NewTarget | None = None

    def apply(self, connection: sa.Connection, cipher: CredentialCipher) -> bool:
        """Replace the target, and make the delivery due if its task has ended.

        Args:
            connection: A connection in a transaction.
            cipher: Encrypts the target.

        Returns:
            False when the task has not ended, and no target was given.

        Raises:
            CallbackParamError: The new target would change the document.
            InvalidTargetError: One of its objects is that of another delivery, or it takes documents only.
        """
        status = sa.select(tasks.c.status).where(tasks.c.job_id == self.job_id)
        has_ended = connection.execute(status).scalar() not in (PENDING, IN_PROGRESS)
        if self.new is not None:
            if not has_ended:
                # Its end locks the task before the deliveries.
                has_ended = connection.execute(status.with_for_update()).scalar() not in (PENDING, IN_PROGRESS)
            self.new.store(connection, cipher, self.job_id, self.delivery_id)
        if has_ended:
            make_due_again(connection, deliveries.c.delivery_id == self.delivery_id, deliveries.c.job_id == self.job_id)
        elif self.new is not None:
            update_expiry(connection, cipher, self.job_id)
        return has_ended or self.new is not None


def make_due_again(connection: sa.Connection, *chosen: sa.ColumnElement[bool]) -> None:
    """Restart the backoff of deliveries of ended tasks, and make those due that have no running attempt.

    Args:
        connection: A connection in a transaction.
        chosen: Conditions of the deliveries.
    """
    restart_backoff = deliveries.update().where(*chosen).values(attempts_before_redelivery=deliveries.c.attempt_count)
    due = (
        deliveries.update()
        .where(
            *chosen,
            deliveries.c.worker.is_(None),
            deliveries.c.status != SKIPPED,
            # A document that waits for output files would not list them.
            sa.or_(deliveries.c.status != DELIVERY_PENDING, deliveries.c.next_attempt_at.is_not(None)),
        )
        .values(status=DELIVERY_PENDING, next_attempt_at=now(), dispatched_at=None, **NOT_HELD)
    )
    # All output files are sent again.
    forget = delivered_outputs.delete().where(
        delivered_outputs.c.delivery_id.in_(sa.select(deliveries.c.delivery_id).where(*chosen))
    )
    for statement in (forget, restart_backoff, due):
        connection.execute(statement)
