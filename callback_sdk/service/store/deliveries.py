"""Deliveries in the store: pending, claimed, delivered or dead."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from callback_sdk.concurrency.circuit import DEFAULT_POLICY, HostPolicy
from callback_sdk.receipt import Receipt
from callback_sdk.service.store import holds, host_gates, rows, stages, subscriptions
from callback_sdk.service.store.cipher import CredentialCipher
from callback_sdk.service.store.claim_rows import CLAIMED_DELIVERY, ENDED_TASK, claim_of
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.delivery_reader import DeliveryReader
from callback_sdk.service.store.host_gates import IS_BLOCKED, IS_GATED
from callback_sdk.service.store.models import (
    DEAD,
    DELIVERED,
    DELIVERY_PENDING,
    RESULTS,
    DeliveringWorker,
    DeliveryClaim,
    DueDeliveries,
    HostOutcome,
)
from callback_sdk.service.store.redeliveries import Redelivery
from callback_sdk.service.store.replacements import NewTarget
from callback_sdk.service.store.tables import deliveries, delivery_attempts, tasks
from callback_sdk.targets.callbacks import Callback

_UNCLAIMED: dict[str, Any] = {"worker": None, "heartbeat_at": None, "dispatched_at": None}
_IS_UNCLAIMED = (
    deliveries.c.status == DELIVERY_PENDING,
    deliveries.c.worker.is_(None),
    deliveries.c.held_since.is_(None),
)

MAX_INTERRUPTED = 3
"""Interrupted attempts after which the next one is delayed: the delivery itself may crash the process."""

_LOOKAHEAD = (200,) * 25
"""Numbers of further due deliveries that one call of `fetch_due` looks at, if hosts of the first ones take none."""

_INTERRUPTED_DELAY = 60.0
"""Seconds of delay for each further interrupted attempt."""

# These statements are built once: building one takes longer than running it.
_JOB_ID: sa.BindParameter[str] = sa.bindparam("_job")
_DELIVERY_ID: sa.BindParameter[str] = sa.bindparam("_delivery")
_ATTEMPT: sa.BindParameter[int] = sa.bindparam("_attempt")

_SELECT_DUE = (
    sa.select(deliveries.c.delivery_id, deliveries.c.host, IS_BLOCKED.label("is_blocked"))
    .where(
        *_IS_UNCLAIMED,
        deliveries.c.next_attempt_at <= now(),
        sa.or_(
            deliveries.c.dispatched_at.is_(None),
            deliveries.c.dispatched_at < now() - sa.bindparam("_again_after", type_=sa.Double),
        ),
        deliveries.c.host.not_in(sa.bindparam("_hosts", expanding=True)),
    )
    .order_by(deliveries.c.next_attempt_at)
    .limit(sa.bindparam("_limit", type_=sa.Integer))
    .with_for_update(skip_locked=True)
)
_UPDATE_DISPATCHED = (
    deliveries.update()
    .where(deliveries.c.delivery_id.in_(sa.bindparam("_deliveries", expanding=True)))
    .values(dispatched_at=now())
)
_SELECT_BUSY_HOSTS = (
    sa.select(deliveries.c.host)
    .where(deliveries.c.worker > "")
    .group_by(deliveries.c.host)
    .having(sa.func.count() >= sa.bindparam("_count", type_=sa.Integer))
)
_SELECT_NEXT_DUE = sa.select(sa.func.min(deliveries.c.next_attempt_at) - now()).where(
    *_IS_UNCLAIMED, deliveries.c.next_attempt_at.is_not(None)
)

_UPDATE_DUE = (
    deliveries.update()
    .where(deliveries.c.job_id == _JOB_ID, deliveries.c.stage == 0, deliveries.c.status == DELIVERY_PENDING)
    .values(next_attempt_at=now(), dispatched_at=None)
)

_FREE_SLOTS: sa.BindParameter[int] = sa.bindparam("_free_slots", type_=sa.Integer)
_FITS = deliveries.c.position < _FREE_SLOTS
_UPDATE_DUE_AND_CLAIMED = (
    _UPDATE_DUE.values(
        dispatched_at=now(),
        worker=sa.case((_FITS, sa.bindparam("_worker", type_=sa.String))),
        heartbeat_at=sa.case((_FITS, now())),
        attempt_count=deliveries.c.attempt_count + sa.case((_FITS, 1), else_=0),
    )
).returning(*CLAIMED_DELIVERY, deliveries.c.worker)
_UPDATE_UNCLAIMED = (
    deliveries.update()
    .where(deliveries.c.delivery_id.in_(sa.bindparam("_deliveries", expanding=True)))
    .values(worker=None, heartbeat_at=None, attempt_count=deliveries.c.attempt_count - 1)
)

_UPDATE_CLAIMED = (
    deliveries.update()
    .where(*_IS_UNCLAIMED, deliveries.c.delivery_id == _DELIVERY_ID, deliveries.c.next_attempt_at <= now())
    .values(worker=sa.bindparam("_worker"), heartbeat_at=now(), attempt_count=deliveries.c.attempt_count + 1)
)
_UPDATE_CLAIMED_FREELY = _UPDATE_CLAIMED.where(sa.not_(IS_GATED))
_SELECT_CLAIM = (
    sa.select(*CLAIMED_DELIVERY, *ENDED_TASK, rows.payload_column(deliveries.c.job_id, RESULTS))
    .select_from(deliveries.join(tasks))
    .where(deliveries.c.delivery_id == _DELIVERY_ID)
)
_INSERT_ATTEMPT = delivery_attempts.insert().values(started_at=now())

_OF_CLAIM = deliveries.update().where(
    deliveries.c.delivery_id == _DELIVERY_ID,
    deliveries.c.attempt_count == _ATTEMPT,
    deliveries.c.worker.is_not(None),
)
_UPDATE_FINISHED = _OF_CLAIM.values(_UNCLAIMED).returning(deliveries.c.job_id, deliveries.c.status)
_UPDATE_ATTEMPT = (
    delivery_attempts.update()
    .where(
        delivery_attempts.c.delivery_id == _DELIVERY_ID,
        delivery_attempts.c.number == _ATTEMPT,
        # It was ended already if the target was replaced meanwhile.
        delivery_attempts.c.finished_at.is_(None),
    )
    .values(finished_at=now(), error=sa.bindparam("_error"), response_body=sa.bindparam("_response_body"))
)

_UPDATE_ATTEMPT_URL = (
    delivery_attempts.update()
    .where(delivery_attempts.c.delivery_id == _DELIVERY_ID, delivery_attempts.c.number == _ATTEMPT)
    .values(url=sa.bindparam("_url"))
)

# A redelivery was requested during the attempt.
_REDELIVERY_REQUESTED = deliveries.c.attempts_before_redelivery >= deliveries.c.attempt_count

_INTERRUPTED_COUNT = (
    sa.select(sa.func.count())
    .where(delivery_attempts.c.delivery_id == deliveries.c.delivery_id, delivery_attempts.c.finished_at.is_(None))
    .scalar_subquery()
)
_RECLAIMED: dict[str, Any] = {
    "attempts_before_redelivery": sa.case(
        (_REDELIVERY_REQUESTED, deliveries.c.attempts_before_redelivery),
        else_=deliveries.c.attempts_before_redelivery + 1,
    ),
    "next_attempt_at": now()
    + sa.case(
        (_INTERRUPTED_COUNT > MAX_INTERRUPTED, _INTERRUPTED_DELAY * (_INTERRUPTED_COUNT - MAX_INTERRUPTED)), else_=0.0
    ),
}


class DeliveryStore(DeliveryReader):
    """Reads and changes the deliveries in a database.

    Args:
        database: The database.
        cipher: Decrypts their targets.
        policy: Circuits and limits of their hosts.
    """

    def __init__(self, database: Database, cipher: CredentialCipher, policy: HostPolicy = DEFAULT_POLICY) -> None:
        super().__init__(database, cipher)
        self._policy = policy

    def fetch_due(
        self, limit: int, *, skip_hosts: Collection[str] = (), redispatch_after: float
    ) -> list[tuple[str, str]]:  # fmt: skip
        """Return id and host of due deliveries that were not dispatched recently, and mark them as dispatched.

        Args:
            limit: Maximum number of deliveries; the longest due come first.
            skip_hosts: Hosts without free slots.
            redispatch_after: Seconds after which a delivery that was dispatched, but not claimed, is dispatched again.
        """
        values = {"_hosts": list(skip_hosts), "_again_after": redispatch_after}
        taken: list[tuple[str, str]] = []
        for count in (limit, *_LOOKAHEAD):
            more, blocked = self._mark_due(limit - len(taken), values | {"_limit": count})
            taken += more
            if not blocked:
                break
            self._hold(blocked)
        return taken

    def _mark_due(self, limit: int, values: dict[str, Any]) -> tuple[list[tuple[str, str]], list[str]]:
        """Mark due deliveries as dispatched. Return them, and the ids of those whose hosts take none now."""

        def mark(connection: sa.Connection) -> tuple[list[tuple[str, str]], list[str]]:
            found = connection.execute(_SELECT_DUE, values).all()
            taken = [(row.delivery_id, row.host) for row in found if not row.is_blocked][:limit]
            if taken:
                connection.execute(_UPDATE_DISPATCHED, {"_deliveries": [delivery_id for delivery_id, _ in taken]})
            return taken, [row.delivery_id for row in found if row.is_blocked]

        return self._database.write(mark)

    def hold_blocked(self, delivery_ids: Sequence[str]) -> set[str]:
        """Hold those of some due deliveries whose hosts take none now, and return their ids.

        The dispatcher would do so too, but a user who redelivers wants to know at once.
        """
        with self._database.read() as connection:
            found = holds.find_blocked(connection, delivery_ids)
        if found:
            self._hold(found)
        return set(found)

    def _hold(self, delivery_ids: Sequence[str]) -> None:
        self._database.write(lambda one: holds.hold_blocked(one, delivery_ids, self._cipher, self._policy))

    def has_dispatched(self, *, since: float) -> bool:
        """Return whether a due delivery was dispatched, but not claimed.

        Args:
            since: Only deliveries dispatched at or after this time of the database's clock.
        """
        given = (*_IS_UNCLAIMED, deliveries.c.next_attempt_at <= now(), deliveries.c.dispatched_at >= since)
        with self._database.read() as connection:
            return bool(connection.execute(sa.select(sa.exists().where(*given))).scalar())

    def busy_hosts(self, at_least: int) -> list[str]:
        """Return the hosts with at least this many running attempts."""
        with self._database.read() as connection:
            return list(connection.execute(_SELECT_BUSY_HOSTS, {"_count": at_least}).scalars())

    def next_due(self) -> float | None:
        """Return the seconds until the next delivery is due, 0 if one is due, None if all pending ones are held."""
        with self._database.read() as connection:
            seconds: float | None = connection.execute(_SELECT_NEXT_DUE).scalar()
        return None if seconds is None else max(0.0, seconds)

    def claim(self, delivery_id: str, worker: str) -> DeliveryClaim | None:
        """Claim a due delivery; None if it is claimed, no longer due, or held because its host takes none now.

        Args:
            delivery_id: The delivery.
            worker: The worker that claims it.
        """
        one = {"_delivery": delivery_id}

        def claim(connection: sa.Connection) -> DeliveryClaim | None:
            values = one | {"_worker": worker}
            if self._policy.limits or not connection.execute(_UPDATE_CLAIMED_FREELY, values).rowcount:
                is_admitted = holds.pass_or_hold(connection, delivery_id, self._cipher, self._policy)
                if not is_admitted or not connection.execute(_UPDATE_CLAIMED, values).rowcount:
                    return None
            row = connection.execute(_SELECT_CLAIM, one).one()
            attempt = {"delivery_id": delivery_id, "number": row.attempt_count, "url": row.url}
            connection.execute(_INSERT_ATTEMPT, attempt)
            return claim_of(row, row, row.data)

        return self._database.write(claim)

    def open(self, claim: DeliveryClaim) -> Callback:
        """Return the target of a delivery, with its credentials.

        Raises:
            CredentialCipherError: The target was encrypted with a key that this process doesn't have.
        """
        return rows.callback(claim.encrypted_target, claim.events, self._cipher)

    def replace_target(self, claim: DeliveryClaim, new: NewTarget) -> bool:
        """Replace the target of a claimed delivery, with its credentials; return whether the claim was still held.

        Raises:
            InvalidTargetError: One of its objects is that of another delivery of the task.
        """
        one = {"_delivery": claim.delivery_id, "_attempt": claim.attempt}

        def replace(connection: sa.Connection) -> bool:
            columns = new.columns(connection, self._cipher, claim.job_id, claim.delivery_id)
            connection.execute(_UPDATE_ATTEMPT_URL, one | {"_url": columns["url"]})
            return connection.execute(_OF_CLAIM.values(columns), one).rowcount == 1

        return self._database.write(replace)

    def heartbeat(self, worker: str, running: Collection[str]) -> None:
        """Renew the leases of a worker's running deliveries."""
        mine = (deliveries.c.worker == worker, deliveries.c.delivery_id.in_(running))
        renew = deliveries.update().where(*mine).values(heartbeat_at=now())
        self._database.write(lambda connection: connection.execute(renew))

    def record_receipt(
        self,
        delivery_id: str,
        attempt: int,
        receipt: Receipt,
        *,
        staged: str | None = None,
        host: HostOutcome | None = None,
    ) -> None:
        """Store the receipt of a delivery, and mark it as delivered.

        Args:
            delivery_id: The delivery.
            attempt: The number of the attempt.
            receipt: The receipt.
            staged: The task, if other deliveries of it wait for this one.
            host: What the attempt has shown of its host; None if nobody needs to know.
        """
        values = {"status": DELIVERED, "next_attempt_at": None, "last_error": None, "receipt": receipt.to_dict()}
        one = {"_delivery": delivery_id, "_attempt": attempt}
        self._finish_attempt(_UPDATE_FINISHED, one, values, None, staged=staged, host=host)

    def record_failure(
        self,
        delivery_id: str,
        attempt: int,
        error: str,
        retry_in: float | None,
        *,
        response_body: str = "",
        staged: str | None = None,
        host: HostOutcome | None = None,
    ) -> None:
        """Record a failed attempt.

        Args:
            delivery_id: The delivery.
            attempt: The number of the attempt.
            error: The error, without credentials.
            retry_in: Seconds until the next attempt; None to mark the delivery as dead, unless a redelivery was
                requested during the attempt.
            response_body: The beginning of the response's body, without credentials.
            staged: The task, if other deliveries of it wait for this one.
            host: What the attempt has shown of its host; None if nobody needs to know.
        """
        if retry_in is None:
            update = _UPDATE_FINISHED.values(
                status=sa.case((_REDELIVERY_REQUESTED, DELIVERY_PENDING), else_=DEAD),
                next_attempt_at=sa.case((_REDELIVERY_REQUESTED, now()), else_=None),
            )
        else:
            update = _UPDATE_FINISHED.values(next_attempt_at=now() + retry_in)
        one = {"_delivery": delivery_id, "_attempt": attempt}
        self._finish_attempt(
            update, one, {"last_error": error}, error, staged=staged, host=host, response_body=response_body or None
        )

    def unmark_dispatched(self, delivery_id: str) -> None:
        """Let the dispatcher redispatch a delivery at once for which this process had no free slot."""
        back = (
            deliveries.update()
            .where(*_IS_UNCLAIMED, deliveries.c.delivery_id == delivery_id)
            .values(dispatched_at=None)
        )
        self._database.write(lambda connection: connection.execute(back))

    def redeliver(self, job_id: str, delivery_id: str, new: NewTarget | None = None) -> bool:
        """Make a delivery of an ended task due at once, regardless of its status, and restart its backoff.

        If an attempt is running, only the backoff is restarted, unless there is a new target: its outcome is discarded
        then.

        Args:
            job_id: The task.
            delivery_id: The delivery.
            new: Replaces the delivery's target. That of a task that has not ended may be replaced, too.

        Returns:
            False when the task has not ended, and no target was given.

        Raises:
            CallbackParamError: The new target would change the document.
            InvalidTargetError: One of its objects is that of another delivery, or it takes documents only.
        """
        request = Redelivery(job_id=job_id, delivery_id=delivery_id, new=new)
        is_changed = self._database.write(lambda connection: request.apply(connection, self._cipher))
        self.hold_blocked([delivery_id])
        self._database.changes.publish([job_id])
        return is_changed

    def reclaim(self, *, worker: str | None = None, silent_for: float = 0.0) -> int:
        """Release the deliveries of dead workers. Attempts interrupted this way don't count as retries.

        Args:
            worker: A worker that is known to be dead; None for all whose lease has expired.
            silent_for: Seconds without a heartbeat after which a lease has expired.

        Returns:
            The number of deliveries.
        """
        if worker is not None:
            dead = deliveries.c.worker == worker
        else:
            dead = sa.and_(deliveries.c.worker.is_not(None), deliveries.c.heartbeat_at < now() - silent_for)
        back = deliveries.update().where(dead).values(_RECLAIMED | _UNCLAIMED)
        return self._database.write(lambda connection: connection.execute(back).rowcount)

    def _finish_attempt(
        self,
        update: sa.Update,
        one: dict[str, Any],
        values: dict[str, Any],
        error: str | None,
        *,
        staged: str | None,
        host: HostOutcome | None,
        response_body: str | None = None,
    ) -> None:
        """Record the end of an attempt, unless a newer attempt has the claim."""

        def finish(connection: sa.Connection) -> str | None:
            if host is not None:
                host_gates.record(connection, host, self._policy)
            changed = connection.execute(update, one | values).first()
            connection.execute(_UPDATE_ATTEMPT, one | {"_error": error, "_response_body": response_body})
            if staged is not None:
                stages.make_next_due(connection, staged)
            return None if changed is None or changed.status == DELIVERY_PENDING else changed.job_id

        ended = self._database.write_with_retry(finish)
        if ended is not None:
            self._database.changes.publish([ended])


def make_due(
    connection: sa.Connection, task: Any, results: bytes | None, sender: DeliveringWorker | None
) -> DueDeliveries:  # fmt: skip
    """Mark the deliveries of a task that ends in this transaction as due.

    Args:
        connection: A connection in the transaction that ends the task.
        task: The task's columns.
        results: The task's results if they are small.
        sender: Claims the deliveries that it can start at once; None to leave all of them to the dispatcher.
    """
    if subscriptions.EVENTS in task.options:
        subscriptions.skip_unwanted(connection, task.job_id, success=bool(task.success))
    is_staged = stages.STAGED in task.options
    if is_staged:
        stages.end_missing(connection, task)
    if sender is None:
        connection.execute(_UPDATE_DUE, {"_job": task.job_id})
        if is_staged:
            stages.make_next_due(connection, task.job_id)
        return DueDeliveries()
    values = {"_job": task.job_id, "_worker": sender.worker, "_free_slots": sender.free_slots}
    found = connection.execute(_UPDATE_DUE_AND_CLAIMED, values).all()
    if is_staged and not found:
        # The dispatcher starts them.
        stages.make_next_due(connection, task.job_id)
    claimed = [row for row in found if row.worker is not None and not row.host_is_known]
    if others := [row.delivery_id for row in found if row.worker is not None and row.host_is_known]:
        # They have to pass the gates of their hosts. Most hosts have none, and cost no further statement.
        connection.execute(_UPDATE_UNCLAIMED, {"_deliveries": others})
    if claimed:
        connection.execute(
            _INSERT_ATTEMPT,
            [{"delivery_id": row.delivery_id, "number": row.attempt_count, "url": row.url} for row in claimed],
        )
    return DueDeliveries(
        claims=[claim_of(row, task, results) for row in claimed],
        due=[(row.delivery_id, row.host) for row in found if row.worker is None or row.host_is_known],
    )
