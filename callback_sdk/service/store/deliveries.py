"""The deliveries in the store: due, claimed, made or given up."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from callback_sdk.models import IN_PROGRESS, PENDING, JobResult, Receipt
from callback_sdk.service.store import rows
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.records import DEAD, DELIVERED, DELIVERY_PENDING, DeliveryClaim
from callback_sdk.service.store.tables import deliveries, tasks, tries
from callback_sdk.service.store.tasks import RESULTS
from callback_sdk.service.vault import Vault
from callback_sdk.targets import plan

_SHOWN = tuple(column for column in deliveries.c if column.name != "target")
_LET_GO: dict[str, Any] = {"worker": None, "beat_at": None, "sent_at": None}


class DeliveryStore:
    """Deliveries in a database.

    Args:
        database: Where they are.
        vault: Decrypts their targets.
    """

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    def of(self, job_id: str) -> list[dict[str, Any]]:
        """Return what may be shown of a task's deliveries, in the order of its targets."""
        query = sa.select(*_SHOWN).where(deliveries.c.job_id == job_id).order_by(deliveries.c.position)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def tries(self, job_id: str) -> list[dict[str, Any]]:
        """Return all tries of a task's deliveries, in order."""
        query = sa.select(tries).join(deliveries).where(deliveries.c.job_id == job_id).order_by(tries.c.number)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def states(self, job_ids: Sequence[str]) -> dict[str, dict[str, int]]:
        """Count the deliveries of several tasks by their state."""
        query = sa.select(deliveries.c.job_id, deliveries.c.state, sa.func.count()).group_by(
            deliveries.c.job_id, deliveries.c.state
        )
        found: dict[str, dict[str, int]] = {job_id: {} for job_id in job_ids}
        with self._database.read() as connection:
            for job_id, state, count in connection.execute(query.where(deliveries.c.job_id.in_(job_ids))):
                found[job_id][state] = count
        return found

    def counts(self) -> dict[str, int]:
        """Count the deliveries that are not made: those that are due or wait for their next try, and the dead."""
        query = sa.select(deliveries.c.state, sa.func.count()).where(
            sa.or_(
                sa.and_(deliveries.c.state == DELIVERY_PENDING, deliveries.c.next_attempt_at.is_not(None)),
                deliveries.c.state == DEAD,
            )
        )
        with self._database.read() as connection:
            counted = connection.execute(query.group_by(deliveries.c.state))
            return {DELIVERY_PENDING: 0, DEAD: 0} | dict(rows.pairs(counted))

    def take(
        self, limit: int, *, skip_hosts: Collection[str] = (), again_after: float
    ) -> list[tuple[str, str]]:  # fmt: skip
        """Return id and host of due deliveries that nobody was given lately, and note that somebody has been now.

        Args:
            limit: How many, at most; the longest due come first.
            skip_hosts: Hosts that are busy enough.
            again_after: Seconds after which a delivery that was given out, and not claimed, is given out again.
        """
        query = (
            sa.select(deliveries.c.delivery_id, deliveries.c.host)
            .where(
                *_waiting(),
                deliveries.c.next_attempt_at <= now(),
                sa.or_(deliveries.c.sent_at.is_(None), deliveries.c.sent_at < now() - again_after),
                deliveries.c.host.not_in(skip_hosts),
            )
            .order_by(deliveries.c.next_attempt_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )

        def mark(connection: sa.Connection) -> list[tuple[str, str]]:
            taken = [(row.delivery_id, row.host) for row in connection.execute(query)]
            if taken:
                ids = [delivery_id for delivery_id, _ in taken]
                connection.execute(
                    deliveries.update().where(deliveries.c.delivery_id.in_(ids)).values(sent_at=now())
                )  # fmt: skip
            return taken

        return self._database.write(mark)

    def due_of(self, job_id: str) -> list[tuple[str, str]]:
        """Return id and host of a task's deliveries whose time has come."""
        query = sa.select(deliveries.c.delivery_id, deliveries.c.host).where(
            *_waiting(), deliveries.c.job_id == job_id, deliveries.c.next_attempt_at <= now()
        )
        with self._database.read() as connection:
            return [(row.delivery_id, row.host) for row in connection.execute(query)]

    def next_due(self) -> float | None:
        """Return in how many seconds the next delivery is due, 0 when one is; None when none waits."""
        query = sa.select(sa.func.min(deliveries.c.next_attempt_at) - now()).where(*_waiting())
        with self._database.read() as connection:
            seconds: float | None = connection.execute(query).scalar()
        return None if seconds is None else max(0.0, seconds)

    def claim(self, delivery_id: str, worker: str) -> DeliveryClaim | None:
        """Take a delivery that is due; None when somebody has it, or nothing is left to do.

        Args:
            delivery_id: Which one.
            worker: Who takes it.
        """
        claimed = (
            deliveries.update()
            .where(*_waiting(), deliveries.c.delivery_id == delivery_id, deliveries.c.next_attempt_at <= now())
            .values(worker=worker, beat_at=now(), attempts=deliveries.c.attempts + 1)
        )
        query = (
            sa.select(
                deliveries.c.target,
                deliveries.c.attempts,
                deliveries.c.attempts_before,
                tasks.c.job_id,
                tasks.c.attempt,
                tasks.c.status,
                tasks.c.success,
                tasks.c.error,
                tasks.c.nulled,
            )
            .join(tasks)
            .where(deliveries.c.delivery_id == delivery_id)
        )

        def take(connection: sa.Connection) -> tuple[sa.RowMapping, bytes | None] | None:
            if not connection.execute(claimed).rowcount:
                return None
            row = connection.execute(query).mappings().one()
            started = {"delivery_id": delivery_id, "number": row["attempts"], "started_at": now()}
            connection.execute(tries.insert().values(**started))
            return row, rows.content(connection, row["job_id"], RESULTS)

        found = self._database.write(take)
        return None if found is None else self._claim(delivery_id, *found)

    def held(self, worker: str) -> dict[str, int]:
        """Return the deliveries that a worker has claimed, and the numbers of their tries."""
        query = sa.select(deliveries.c.delivery_id, deliveries.c.attempts).where(deliveries.c.worker == worker)
        with self._database.read() as connection:
            return dict(rows.pairs(connection.execute(query)))

    def beat(self, worker: str, running: Collection[str]) -> None:
        """Say that a worker is alive and has these deliveries under way."""
        mine = (deliveries.c.worker == worker, deliveries.c.delivery_id.in_(running))
        renew = deliveries.update().where(*mine).values(beat_at=now())
        self._database.write(lambda connection: connection.execute(renew))

    def delivered(self, delivery_id: str, attempt: int, receipt: Receipt) -> None:
        """Keep the proof that a target has the result."""
        values = {"state": DELIVERED, "next_attempt_at": None, "last_error": None, "receipt": receipt.to_dict()}
        self._settle(delivery_id, attempt, values, None)

    def failed(self, delivery_id: str, attempt: int, error: str, again_in: float | None) -> None:
        """Keep that an attempt failed.

        Args:
            delivery_id: Which delivery.
            attempt: The number of the try.
            error: Why, without credentials.
            again_in: Seconds until the next try; None for never.
        """
        state = DEAD if again_in is None else DELIVERY_PENDING
        moment = None if again_in is None else now() + again_in
        self._settle(delivery_id, attempt, {"state": state, "next_attempt_at": moment, "last_error": error}, error)

    def give_back(self, delivery_id: str) -> None:
        """Let the dispatcher bring a delivery again that could not be taken up here, without delay."""
        back = deliveries.update().where(*_waiting(), deliveries.c.delivery_id == delivery_id).values(sent_at=None)
        self._database.write(lambda connection: connection.execute(back))

    def redeliver(self, job_id: str, delivery_id: str) -> bool:
        """Make a delivery of an ended task due at once, whatever has become of it; its pauses begin anew.

        One that runs at this moment is left alone, as the result is on its way.

        Returns:
            False when the task has not ended.
        """
        due = (
            deliveries.update()
            .where(
                deliveries.c.delivery_id == delivery_id, deliveries.c.job_id == job_id, deliveries.c.worker.is_(None)
            )
            .values(
                state=DELIVERY_PENDING,
                attempts_before=deliveries.c.attempts,
                next_attempt_at=now(),
                sent_at=None,
            )
        )
        status = sa.select(tasks.c.status).where(tasks.c.job_id == job_id)

        def revive(connection: sa.Connection) -> bool:
            if connection.execute(status).scalar() in (PENDING, IN_PROGRESS):
                return False
            connection.execute(due)
            return True

        return self._database.write(revive)

    def take_back(self, *, worker: str | None = None, silent_for: float = 0.0) -> int:
        """Take back what dead workers were sending.

        Args:
            worker: One that is known to be dead; None for all that have been silent.
            silent_for: Seconds without a word after which a worker counts as dead.

        Returns:
            How many deliveries.
        """
        if worker is not None:
            dead = deliveries.c.worker == worker
        else:
            dead = sa.and_(deliveries.c.worker.is_not(None), deliveries.c.beat_at < now() - silent_for)
        back = deliveries.update().where(dead).values(_LET_GO)
        return self._database.write(lambda connection: connection.execute(back).rowcount)

    def results_url(self, job_id: str) -> str | None:
        """Return where a task's results will be, without a signature; None when no target of it is an object."""
        query = sa.select(deliveries.c.delivery_id, deliveries.c.target).where(deliveries.c.job_id == job_id)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(deliveries.c.position)).all()
        urls = (plan(rows.callback(target, self._vault)).object_url(delivery_id) for delivery_id, target in found)
        return next((url for url in urls if url is not None), None)

    def _claim(self, delivery_id: str, row: sa.RowMapping, results: bytes | None) -> DeliveryClaim:
        return DeliveryClaim(
            delivery_id=delivery_id,
            callback=rows.callback(row["target"], self._vault),
            job_id=row["job_id"],
            attempt=row["attempts"],
            since_redelivery=row["attempts"] - row["attempts_before"],
            run=row["attempt"],
            result=JobResult(
                job_id=row["job_id"], success=bool(row["success"]), error=row["error"], status=row["status"]
            ),
            results=results,
            nulled=row["nulled"],
        )

    def _settle(self, delivery_id: str, attempt: int, values: dict[str, Any], error: str | None) -> None:
        """Keep how a try ended, unless a newer one has the claim."""
        held = (deliveries.c.delivery_id == delivery_id, deliveries.c.attempts == attempt)
        settled = deliveries.update().where(*held, deliveries.c.worker.is_not(None)).values(**_LET_GO, **values)
        ended = (
            tries.update()
            .where(tries.c.delivery_id == delivery_id, tries.c.number == attempt)
            .values(finished_at=now(), error=error)
        )

        def settle(connection: sa.Connection) -> None:
            connection.execute(settled)
            connection.execute(ended)

        self._database.write_surely(settle)


def _waiting() -> tuple[sa.ColumnElement[bool], ...]:
    return (deliveries.c.state == DELIVERY_PENDING, deliveries.c.worker.is_(None))
