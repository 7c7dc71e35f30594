"""Deliveries that are held because their host is unavailable, paused or at its limit.

A held delivery keeps its attempts, and its place: it is released in the order in which the deliveries were due.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from callback_sdk.concurrency.circuit import HostPolicy
from callback_sdk.concurrency.host_slots import PER_HOST
from callback_sdk.errors import TargetError
from callback_sdk.service.store import host_gates, rows, stages
from callback_sdk.service.store.cipher import CredentialCipher, CredentialCipherError
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.models import DEAD, DELIVERY_PENDING
from callback_sdk.service.store.tables import deliveries, hosts
from callback_sdk.targets import plan

NOT_HELD: dict[str, Any] = {"held_since": None, "held_until": None}
"""Columns of a delivery that isn't held."""

_MAX_HOSTS = 50
"""Maximum number of hosts that one transaction looks at."""

_MAX_ENDED = 200
"""Maximum number of held deliveries that are ended in one transaction."""

_EXPIRED = (
    "The target expired while its host was unavailable or paused. Redeliver the result with a new target: "
    "callback-sdk redeliver JOB_ID DELIVERY_ID --target FILE"
)
_HELD_TOO_LONG = (
    "The host was unavailable for {days:.3g} days. When it is available again, redeliver the result: "
    "callback-sdk redeliver JOB_ID DELIVERY_ID"
)

IS_WAITING = (
    deliveries.c.status == DELIVERY_PENDING,
    deliveries.c.worker.is_(None),
    deliveries.c.held_since.is_(None),
    deliveries.c.next_attempt_at <= now(),
)
"""The conditions of due deliveries that nobody has claimed."""

# These statements are built once: building one takes longer than running it.
_IDS: sa.BindParameter[Any] = sa.bindparam("_ids", expanding=True)
_HOST: sa.BindParameter[str] = sa.bindparam("_host")
_SELECT_WAITING = (
    sa.select(
        deliveries.c.delivery_id,
        deliveries.c.origin,
        deliveries.c.next_attempt_at,
        deliveries.c.encrypted_target,
        deliveries.c.events,
    )
    .where(*IS_WAITING, deliveries.c.delivery_id.in_(_IDS))
    .order_by(deliveries.c.origin)
)
_UPDATE_HELD = (
    deliveries.update()
    .where(*IS_WAITING, deliveries.c.delivery_id == sa.bindparam("_delivery"))
    .values(held_since=now(), held_until=sa.bindparam("_until", type_=sa.Double), dispatched_at=None)
)
_SELECT_AWAKE = (
    sa.select(hosts, now().label("moment"))
    .where(hosts.c.wake_at <= now())
    .order_by(hosts.c.wake_at)
    .limit(_MAX_HOSTS)
    .with_for_update(skip_locked=True)
)
_SELECT_HELD = (
    sa.select(deliveries.c.delivery_id, deliveries.c.host)
    .where(deliveries.c.held_since.is_not(None), deliveries.c.origin == _HOST)
    .order_by(deliveries.c.next_attempt_at, deliveries.c.delivery_id)
    .limit(sa.bindparam("_limit", type_=sa.Integer))
)
_UPDATE_RELEASED = (
    deliveries.update()
    .where(deliveries.c.delivery_id.in_(_IDS))
    .values(
        # Otherwise deliveries that were held before the clock was set back would not be due until that time.
        next_attempt_at=sa.case((deliveries.c.next_attempt_at > now(), now()), else_=deliveries.c.next_attempt_at),
        **NOT_HELD,
    )
)
_SELECT_EXPIRED = (
    sa.select(deliveries.c.delivery_id, deliveries.c.job_id)
    .where(deliveries.c.held_until <= now(), deliveries.c.held_since.is_not(None))
    .limit(_MAX_ENDED)
    .with_for_update(skip_locked=True)
)
_SELECT_GONE = (
    sa.select(deliveries.c.delivery_id, deliveries.c.job_id)
    .where(
        deliveries.c.origin.in_(
            sa.select(hosts.c.host).where(
                hosts.c.open_since <= now() - sa.bindparam("_age", type_=sa.Double), hosts.c.paused_at.is_(None)
            )
        ),
        deliveries.c.held_since.is_not(None),
        deliveries.c.next_attempt_at <= now() - sa.bindparam("_age", type_=sa.Double),
    )
    .limit(_MAX_ENDED)
    .with_for_update(skip_locked=True)
)
_UPDATE_ENDED = (
    deliveries.update()
    .where(deliveries.c.delivery_id.in_(_IDS), deliveries.c.held_since.is_not(None))
    .values(status=DEAD, next_attempt_at=None, dispatched_at=None, last_error=sa.bindparam("_error"), **NOT_HELD)
)


def pass_or_hold(connection: sa.Connection, delivery_id: str, cipher: CredentialCipher, policy: HostPolicy) -> bool:
    """Return whether a due delivery may start now, and hold it if not. False if it is no longer due.

    Args:
        connection: In the transaction that claims the delivery.
        delivery_id: The delivery.
        cipher: Decrypts its target.
        policy: What applies to every host.
    """
    row = connection.execute(_SELECT_WAITING, {"_ids": [delivery_id]}).first()
    if row is None:
        return False
    if host_gates.try_pass(connection, row.origin, row.next_attempt_at, policy):
        return True
    _hold(connection, [row], cipher)
    return False


def hold_blocked(
    connection: sa.Connection, delivery_ids: Sequence[str], cipher: CredentialCipher, policy: HostPolicy
) -> None:
    """Hold the due deliveries whose hosts take none now.

    Args:
        connection: In a transaction.
        delivery_ids: The deliveries.
        cipher: Decrypts their targets.
        policy: What applies to every host.
    """
    found = connection.execute(_SELECT_WAITING, {"_ids": list(delivery_ids)}).all()
    # In a fixed order, so that two transactions can't deadlock.
    for origin, waiting in groupby(found, key=lambda one: str(one.origin)):
        row = host_gates.lock(connection, origin)
        if row is None:
            continue
        gate = host_gates.gate_of(row, policy)
        if gate.free(row.moment, 0) < 1:
            host_gates.wake(connection, row, gate)
            _hold(connection, list(waiting), cipher)
        else:
            # Otherwise its row says that it is blocked until then.
            host_gates.update(connection, origin, next_slot_at=gate.next_slot_at)


def find_blocked(connection: sa.Connection, delivery_ids: Sequence[str]) -> list[str]:
    """Return the ids of due deliveries whose hosts take none now, such as paused ones."""
    query = _SELECT_WAITING.with_only_columns(deliveries.c.delivery_id).where(host_gates.IS_BLOCKED)
    return list(connection.execute(query, {"_ids": list(delivery_ids)}).scalars())


def release_due(connection: sa.Connection, policy: HostPolicy) -> None:
    """Release held deliveries of hosts that may take some, a few hosts at a time."""
    for row in connection.execute(_SELECT_AWAKE).all():
        _release(connection, row, policy)


def release_next(connection: sa.Connection, host: str, policy: HostPolicy) -> list[tuple[str, str]]:
    """Release the held deliveries that a host may take now, and return their ids and host names."""
    row = host_gates.lock(connection, host)
    return [] if row is None or row.wake_at is None else _release(connection, row, policy)


def end_expired(connection: sa.Connection, policy: HostPolicy) -> int:
    """Mark held deliveries as dead whose target has expired, or whose host was unavailable for too long.

    Returns:
        Their number, at most a few hundred; the next call ends others.
    """
    expired = connection.execute(_SELECT_EXPIRED).all()
    _end(connection, expired, _EXPIRED)
    gone = connection.execute(_SELECT_GONE, {"_age": policy.max_hold}).all()
    _end(connection, gone, _HELD_TOO_LONG.format(days=policy.max_hold / 86400))
    return len(expired) + len(gone)


def _end(connection: sa.Connection, found: Sequence[Any], error: str) -> None:
    if not found:
        return
    connection.execute(_UPDATE_ENDED, {"_ids": [row.delivery_id for row in found], "_error": error})
    for job_id in sorted({row.job_id for row in found}):
        stages.make_next_due(connection, job_id)


def _release(connection: sa.Connection, row: Any, policy: HostPolicy) -> list[tuple[str, str]]:
    gate = host_gates.gate_of(row, policy)
    count = host_gates.count_running(connection, row.host)
    free = int(min(gate.free(row.moment, count), PER_HOST - count))
    released = [
        (one.delivery_id, one.host)
        for one in connection.execute(_SELECT_HELD, {"_host": row.host, "_limit": max(0, free)})
    ]
    if released:
        connection.execute(_UPDATE_RELEASED, {"_ids": [delivery_id for delivery_id, _ in released]})
    is_empty = len(released) < free or not host_gates.has_held(connection, row.host)
    host_gates.update(connection, row.host, wake_at=None if is_empty else gate.opens_at(row.moment))
    return released


def _hold(connection: sa.Connection, waiting: Sequence[Any], cipher: CredentialCipher) -> None:
    values = [{"_delivery": one.delivery_id, "_until": _expires_at(one, cipher)} for one in waiting]
    connection.execute(_UPDATE_HELD, values)


def _expires_at(row: Any, cipher: CredentialCipher) -> float | None:
    """Return when a target expires; None for never, and if its issuer gives a new one."""
    try:
        target = plan(rows.callback(row.encrypted_target, row.events, cipher))
    except (CredentialCipherError, TargetError):
        # Its attempt will fail with the reason.
        return None
    at: datetime | None = target.expires_at
    if at is None or target.callback.issuer is not None:
        return None
    return at.astimezone(timezone.utc).timestamp()
