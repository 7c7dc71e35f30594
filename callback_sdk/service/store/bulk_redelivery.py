"""Deliveries of many tasks: finds them by a filter, and redelivers them page by page, as after an incident."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from attrs import define

from callback_sdk.errors import CallbackSDKError, TargetError
from callback_sdk.models import LATE, DeliveryFilter, host_name
from callback_sdk.service.store import rows
from callback_sdk.service.store.cipher import CredentialCipher, CredentialCipherError
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.host_gates import IS_HELD, IS_SCHEDULED
from callback_sdk.service.store.models import DEAD, DELIVERED, DELIVERY_PENDING, SKIPPED
from callback_sdk.service.store.redeliveries import make_due_again
from callback_sdk.service.store.tables import deliveries, tasks, users
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.hosts import usual_name

_SHOWN = tuple(column for column in deliveries.c if column.name != "encrypted_target")
_OF_TASK = (tasks.c.algorithm, tasks.c.owner, tasks.c.finished_at.label("task_finished_at"))
JOINED = deliveries.join(tasks).outerjoin(users, users.c.user_id == tasks.c.owner)
_POSITION = sa.tuple_(tasks.c.finished_at, deliveries.c.delivery_id)

# Literally the condition of the partial index: neither database uses it for a condition with a parameter.
_IS_DEAD = deliveries.c.status == sa.literal(DEAD, literal_execute=True)
_IS_SCHEDULED = sa.and_(IS_SCHEDULED, deliveries.c.status == DELIVERY_PENDING)
_IS_WAITING = sa.or_(_IS_SCHEDULED, IS_HELD)
_STATES: dict[str, sa.ColumnElement[bool]] = {
    "dead": _IS_DEAD,
    "failing": sa.and_(_IS_WAITING, deliveries.c.last_error.is_not(None)),
    "late": sa.and_(_IS_WAITING, tasks.c.finished_at < now() - LATE),
    "undelivered": sa.or_(_IS_DEAD, _IS_SCHEDULED, IS_HELD),
    "pending": deliveries.c.status == DELIVERY_PENDING,
    "delivered": deliveries.c.status == DELIVERED,
}

_CLOSED = (DELIVERED, SKIPPED)
"""Statuses of deliveries that a bulk redelivery leaves out."""


@define(frozen=True)
class Position:
    """A position in the deliveries, ordered by the end of their tasks.

    Attributes:
        task_finished_at: End of the task of the last delivery of a page, in seconds since 1970 in UTC.
        delivery_id: That delivery.
    """

    task_finished_at: float
    delivery_id: str


@define(frozen=True, kw_only=True)
class RedeliveryPage:
    """The outcome of a page of a bulk redelivery.

    Attributes:
        due: Deliveries that are due now.
        skipped: Deliveries that no attempt can complete, with the reason.
        next: Where the next page begins; None after the last one.
    """

    due: Sequence[dict[str, Any]]
    skipped: Sequence[tuple[dict[str, Any], CallbackSDKError]]
    next: Position | None


class BulkRedeliveryStore:
    """Deliveries of all tasks, by filters.

    Args:
        database: The database.
        cipher: Decrypts the targets, to check whether an attempt can succeed.
    """

    def __init__(self, database: Database, cipher: CredentialCipher) -> None:
        self._database = database
        self._cipher = cipher

    def page(
        self, wanted: DeliveryFilter, *, owner: str | None, after: Position | None = None, limit: int
    ) -> list[dict[str, Any]]:
        """Return deliveries of ended tasks without credentials, those of the latest tasks first.

        The rows have `algorithm`, `owner`, `owner_name` and `task_finished_at` of the task too.

        Args:
            wanted: Selects deliveries; its `user` is ignored.
            owner: Id of the user whose deliveries these are; None for those of all users.
            after: The last delivery of the previous page.
            limit: Maximum number.
        """
        query = _select(wanted, owner).order_by(tasks.c.finished_at.desc(), deliveries.c.delivery_id.desc())
        if after is not None:
            query = query.where(_tuple(after) > _POSITION)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query.limit(limit)).mappings()]

    def count(self, wanted: DeliveryFilter, *, owner: str | None) -> int:
        """Count deliveries; see `page`."""
        query = sa.select(sa.func.count()).select_from(JOINED).where(*conditions(wanted, owner))
        with self._database.read() as connection:
            return connection.execute(query).scalar_one()

    def redeliver(
        self,
        wanted: DeliveryFilter,
        *,
        owner: str | None,
        after: Position | None,
        limit: int,
        check: Callable[[str, Callback], None],
        dry_run: bool = False,
    ) -> RedeliveryPage:
        """Make a page of deliveries due at once, and restart their backoff; those of the earliest tasks first.

        Each delivery is in one page, even if it is dead again before the next page: the end of its task doesn't change.

        Args:
            wanted: Selects deliveries that have not been delivered; its `user` is ignored.
            owner: Id of the user whose deliveries these are; None for those of all users.
            after: The end of the previous page.
            limit: Maximum number of deliveries.
            check: Called with the id and the target of each delivery; raises an error if no attempt can succeed, such
                as after the expiry of the target.
            dry_run: Whether to change nothing.
        """
        query = _select(wanted, owner, deliveries.c.encrypted_target)
        query = query.where(deliveries.c.status.not_in(_CLOSED))
        if after is not None:
            query = query.where(_tuple(after) < _POSITION)
        query = query.order_by(tasks.c.finished_at, deliveries.c.delivery_id).limit(limit)
        with self._database.read() as connection:
            found = [dict(row) for row in connection.execute(query).mappings()]
        problems = [self._problem(row, row.pop("encrypted_target"), check) for row in found]
        good = [row for row, problem in zip(found, problems, strict=True) if problem is None]
        ids = [row["delivery_id"] for row in good]
        if ids and not dry_run:
            due = self._database.write(lambda connection: _make_due(connection, ids))
            good = [row for row in good if row["delivery_id"] in due]
        last = found[-1] if len(found) == limit else None
        return RedeliveryPage(
            due=good,
            skipped=[(row, problem) for row, problem in zip(found, problems, strict=True) if problem is not None],
            next=None if last is None else Position(last["task_finished_at"], last["delivery_id"]),
        )

    def _problem(
        self, row: dict[str, Any], encrypted: str, check: Callable[[str, Callback], None]
    ) -> CallbackSDKError | None:
        try:
            check(row["delivery_id"], rows.callback(encrypted, row["events"], self._cipher))
        except (CredentialCipherError, TargetError) as error:
            return error
        return None


def _make_due(connection: sa.Connection, delivery_ids: Sequence[str]) -> set[str]:
    """Make those deliveries due that have not been delivered meanwhile, and return their ids."""
    chosen = (deliveries.c.delivery_id.in_(delivery_ids), deliveries.c.status.not_in(_CLOSED))
    # In order, so that two concurrent redeliveries can't wait for each other.
    query = sa.select(deliveries.c.delivery_id).where(*chosen).order_by(deliveries.c.delivery_id).with_for_update()
    found = set(connection.execute(query).scalars())
    make_due_again(connection, *chosen)
    return found


def _select(wanted: DeliveryFilter, owner: str | None, *more: sa.Column[Any]) -> sa.Select[Any]:
    columns = (*_SHOWN, *more, *_OF_TASK, users.c.name.label("owner_name"))
    return sa.select(*columns).select_from(JOINED).where(*conditions(wanted, owner))


def conditions(wanted: DeliveryFilter, owner: str | None) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of a query of `JOINED`.

    Args:
        wanted: Selects deliveries; its `user` is ignored.
        owner: Id of the user whose deliveries these are; None for those of all users.
    """
    found: list[sa.ColumnElement[bool]] = [tasks.c.finished_at.is_not(None)]
    if wanted.status is not None:
        found.append(_STATES[wanted.status])
    if owner is not None:
        found.append(tasks.c.owner == owner)
    if wanted.host is not None and (name := host_name(wanted.host)) is not None:
        found.append(deliveries.c.host == usual_name(name))
    if wanted.algorithm is not None:
        found.append(tasks.c.algorithm == wanted.algorithm)
    if wanted.since is not None:
        found.append(tasks.c.finished_at >= wanted.since.timestamp())
    if wanted.until is not None:
        found.append(tasks.c.finished_at < wanted.until.timestamp())
    if wanted.error is not None:
        found.append(deliveries.c.last_error.icontains(wanted.error, autoescape=True))
    return found


def _tuple(position: Position) -> Any:
    return sa.tuple_(sa.literal(position.task_finished_at), sa.literal(position.delivery_id))
