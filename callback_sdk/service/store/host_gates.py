"""Circuits and limits of hosts in the transactions of deliveries: claims are refused, and outcomes are recorded.

The row of a host is locked before those of its deliveries, so that no two transactions wait for each other. The only
deliveries that count as running are claimed ones: when a process dies, its claims expire, and with them the probe of a
half-open circuit.
"""

from __future__ import annotations

import random
from typing import Any

import sqlalchemy as sa

from callback_sdk.concurrency.circuit import Circuit, Gate, HostLimits, HostPolicy
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.models import HostOutcome
from callback_sdk.service.store.tables import deliveries, disabled_webhooks, hosts

_MAX_ERROR = 1000
"""Maximum characters of a host's last error."""

# In a RETURNING clause on SQLite, SQLAlchemy omits the table names of columns: no two of a comparison have one name.
_OWN = hosts.c.host == deliveries.c.origin

IS_KNOWN = sa.exists(sa.select(sa.literal_column("1")).where(_OWN).correlate(deliveries))
"""Whether the host of a delivery has a row."""

IS_GATED = sa.exists(
    sa.select(sa.literal_column("1"))
    .where(
        _OWN,
        sa.or_(
            hosts.c.open_since.is_not(None),
            hosts.c.recovered.is_not(None),
            hosts.c.paused_at.is_not(None),
            hosts.c.max_concurrency.is_not(None),
            hosts.c.max_rate.is_not(None),
            hosts.c.wake_at.is_not(None),
        ),
    )
    .correlate(deliveries)
)
"""Whether a delivery needs to pass its host's gate."""

IS_BLOCKED = sa.exists(
    sa.select(sa.literal_column("1"))
    .where(_OWN, sa.or_(hosts.c.paused_at.is_not(None), hosts.c.retry_at > now(), hosts.c.next_slot_at - 1.0 > now()))
    .correlate(deliveries)
)
"""Whether no delivery to the host may start now, whatever runs."""

MAY_BE_DISABLED = sa.exists(
    sa.select(sa.literal_column("1")).where(disabled_webhooks.c.shown_url == deliveries.c.url).correlate(deliveries)
)
"""Whether a webhook is disabled whose URL is that of the delivery, without its query."""

IS_SCHEDULED = sa.and_(deliveries.c.next_attempt_at.is_not(None), deliveries.c.held_since.is_(None))
"""Literally the condition of the partial index: whether a delivery has a next attempt, and isn't held."""

IS_HELD = sa.and_(deliveries.c.held_since.is_not(None), deliveries.c.origin >= "")
"""Whether a delivery is held. SQLite uses an index in an OR only with a constraint of its first column."""

# These statements are built once: building one takes longer than running it.
_HOST: sa.BindParameter[str] = sa.bindparam("_host")
_SELECT = sa.select(hosts, now().label("moment")).where(hosts.c.host == _HOST).with_for_update()
_INSERT = sa.text("INSERT INTO hosts (host) VALUES (:_host) ON CONFLICT (host) DO NOTHING")
_UPDATE = hosts.update().where(hosts.c.host == _HOST)
_DELETE = hosts.delete().where(hosts.c.host == _HOST)
_COUNT_RUNNING = (
    sa.select(sa.func.count()).select_from(deliveries).where(deliveries.c.worker > "", deliveries.c.origin == _HOST)
)
_OF_HOST = (deliveries.c.origin == _HOST, deliveries.c.held_since.is_not(None))
_HAS_HELD = sa.select(sa.exists().where(*_OF_HOST))
_HAS_EARLIER = sa.select(sa.exists().where(*_OF_HOST, deliveries.c.next_attempt_at < sa.bindparam("_due")))
_UPDATE_WAKE = (
    hosts.update().where(hosts.c.host == _HOST, hosts.c.wake_at.is_not(None)).values(wake_at=now())
)  # fmt: skip


def lock(connection: sa.Connection, host: str, *, create: bool = False) -> Any | None:
    """Lock the row of a host until the end of the transaction, and return it; None without one."""
    row = connection.execute(_SELECT, {"_host": host}).first()
    if row is None and create:
        connection.execute(_INSERT, {"_host": host})
        row = connection.execute(_SELECT, {"_host": host}).first()
    return row


def update(connection: sa.Connection, host: str, **values: Any) -> None:
    """Change columns of a host."""
    connection.execute(_UPDATE, {"_host": host, **values})


def count_running(connection: sa.Connection, host: str) -> int:
    """Return the number of running deliveries to a host, in all processes."""
    return connection.execute(_COUNT_RUNNING, {"_host": host}).scalar_one()


def has_held(connection: sa.Connection, host: str) -> bool:
    """Return whether deliveries wait for a host."""
    return bool(connection.execute(_HAS_HELD, {"_host": host}).scalar())


def circuit_of(row: Any) -> Circuit:
    """Return the circuit in a row of a host."""
    return Circuit(
        failures=row.failures,
        openings=row.openings,
        open_since=row.open_since,
        retry_at=row.retry_at,
        recovered=row.recovered,
    )


def limits_of(row: Any) -> HostLimits:
    """Return the limits in a row of a host, without those of the settings."""
    return HostLimits(max_concurrency=row.max_concurrency, max_rate=row.max_rate)


def gate_of(row: Any, policy: HostPolicy) -> Gate:
    """Return the gate of a host."""
    limits = limits_of(row).over(policy.limits)
    return Gate(
        circuit=circuit_of(row),
        is_paused=row.paused_at is not None,
        limits=limits,
        next_slot_at=limits.start_of(row.next_slot_at, row.moment),
    )


def try_pass(connection: sa.Connection, host: str, due_at: float, policy: HostPolicy) -> bool:
    """Return whether a due delivery may start now; if not, the caller holds it.

    Held deliveries that were due earlier go first.

    Args:
        connection: In a transaction, which claims the delivery.
        host: Scheme, host and port.
        due_at: When the delivery was due.
        policy: What applies to every host.
    """
    row = lock(connection, host, create=bool(policy.limits))
    if row is None:
        return True
    gate = gate_of(row, policy)
    is_open = gate.free(row.moment, count_running(connection, host)) >= 1
    if not is_open or connection.execute(_HAS_EARLIER, {"_host": host, "_due": due_at}).scalar():
        _wake_at(connection, row, row.moment if is_open else gate.opens_at(row.moment))
        return False
    if gate.limits.max_rate is not None:
        update(connection, host, next_slot_at=gate.after_start(row.moment))
    return True


def admits_event(connection: sa.Connection, host: str, policy: HostPolicy, *, sending: int) -> bool:
    """Return whether an event may be sent to a host now. Results go first: none waits, and the host isn't failing.

    Args:
        connection: In a transaction.
        host: Scheme, host and port.
        policy: What applies to every host.
        sending: Events that are being sent to the host.
    """
    row = lock(connection, host, create=bool(policy.limits))
    if row is None:
        return True
    gate = gate_of(row, policy)
    is_failing = row.open_since is not None or row.recovered is not None
    in_use = sending + count_running(connection, host)
    if is_failing or has_held(connection, host) or gate.free(row.moment, in_use) < 1:
        return False
    if gate.limits.max_rate is not None:
        update(connection, host, next_slot_at=gate.after_start(row.moment))
    return True


def wake(connection: sa.Connection, row: Any, gate: Gate) -> None:
    """Let the held deliveries of a host be looked at when its gate may open, or earlier."""
    _wake_at(connection, row, gate.opens_at(row.moment))


def _wake_at(connection: sa.Connection, row: Any, moment: float | None) -> None:
    if moment is None or row.wake_at is None or row.wake_at > moment:
        update(connection, row.host, wake_at=moment)


def record(connection: sa.Connection, outcome: HostOutcome, policy: HostPolicy) -> None:
    """Record what an attempt has shown of its host, in the transaction that ends the attempt.

    The row of the attempt's delivery must not be locked yet.
    """
    if outcome.is_available is None:
        connection.execute(_UPDATE_WAKE, {"_host": outcome.origin})
        return
    row = lock(connection, outcome.origin, create=not outcome.is_available)
    if row is None:
        return
    circuit = circuit_of(row)
    if outcome.is_available:
        _record_success(connection, row, circuit)
        return
    after = circuit.after_failure(
        row.moment,
        threshold=policy.failures,
        retry_after=outcome.retry_after,
        jitter=random.random(),  # noqa: S311 (jitter is not a secret)
    )
    values = columns_of(after) | {"last_error": (outcome.error or "")[:_MAX_ERROR], "failed_at": row.moment}
    if row.wake_at is not None:
        values["wake_at"] = after.retry_at or row.moment
    update(connection, outcome.origin, **values)


def _record_success(connection: sa.Connection, row: Any, before: Circuit) -> None:
    after = before.after_success()
    if before.recovered is not None and row.wake_at is None:
        # All held deliveries are sent.
        after = Circuit()
    is_plain = row.paused_at is None and not limits_of(row) and row.next_slot_at <= row.moment
    if after == Circuit() and is_plain and row.wake_at is None:
        connection.execute(_DELETE, {"_host": row.host})
        return
    values = columns_of(after)
    if row.wake_at is not None:
        values["wake_at"] = row.moment
    update(connection, row.host, **values)


def columns_of(circuit: Circuit) -> dict[str, Any]:
    """Return the columns of a circuit."""
    return {
        "failures": circuit.failures,
        "openings": circuit.openings,
        "open_since": circuit.open_since,
        "retry_at": circuit.retry_at,
        "recovered": circuit.recovered,
    }
