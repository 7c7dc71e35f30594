"""Hosts that deliveries go to: their circuits, pauses and limits, and the webhooks that are gone."""

from __future__ import annotations

import hashlib
from typing import Any

import sqlalchemy as sa
from attrs import define

from callback_sdk.concurrency.circuit import CLOSED, DEFAULT_POLICY, HALF_OPEN, NO_LIMITS, OPEN, HostLimits, HostPolicy
from callback_sdk.redaction import SecretURL
from callback_sdk.service.store import holds, host_gates
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.tables import deliveries, disabled_webhooks, hosts
from callback_sdk.targets.hosts import origin, usual_name

PAUSED = "paused"
"""The state of a host that an operator has paused, whatever its circuit."""

_ROUNDS = 20
"""Maximum number of transactions of one call of `release_due`."""

_SELECT_NEXT_WAKE = sa.select(sa.func.min(hosts.c.wake_at) - now()).where(hosts.c.wake_at.is_not(None))


@define(frozen=True, kw_only=True)
class HostState:
    """The state of a host.

    Attributes:
        host: Scheme, host and port, such as `https://example.org`.
        state: `"closed"`, `"open"`, `"half-open"` or `"paused"`.
        failures: Transient failures in a row.
        since: Since when it is open or paused, in seconds since 1970 in UTC; None if it is neither.
        retry_at: When a delivery tests the host; None if its circuit isn't open.
        paused_by: Name of the user who paused it; None if nobody has, or on the machine of the service.
        last_error: The last transient failure, without credentials; None without one.
        limits: The host's own limits.
        held: Number of deliveries that wait for it.
        held_since: Since when the oldest of them waits; None without any.
        running: Number of running deliveries.
    """

    host: str
    state: str
    failures: int = 0
    since: float | None = None
    retry_at: float | None = None
    paused_by: str | None = None
    last_error: str | None = None
    limits: HostLimits = NO_LIMITS
    held: int = 0
    held_since: float | None = None
    running: int = 0


@define(frozen=True, kw_only=True)
class GoneWebhook:
    """A webhook that is gone: it responded with 410.

    Attributes:
        url: Its URL without credentials.
        host: Its host.
        since: When it responded so, in seconds since 1970 in UTC.
    """

    url: str
    host: str
    since: float


class HostStore:
    """The hosts in a database. A host without a row works, and has no limits of its own.

    Args:
        database: The database.
        policy: What applies to every host.
    """

    def __init__(self, database: Database, policy: HostPolicy = DEFAULT_POLICY) -> None:
        self._database = database
        self._policy = policy

    def all(self, *, limit: int = 1000) -> list[HostState]:
        """Return the hosts that fail, are paused or limited, or have held deliveries; those with the most held first.

        Args:
            limit: Maximum number of hosts.
        """
        held = _per_host(deliveries.c.held_since.is_not(None), sa.func.min(deliveries.c.held_since).label("since"))
        running = _per_host(deliveries.c.worker > "")
        count = sa.func.coalesce(held.c.count, 0)
        query = (
            sa.select(
                hosts,
                count.label("held"),
                held.c.since.label("held_since"),
                sa.func.coalesce(running.c.count, 0).label("running"),
                now().label("moment"),
            )
            .select_from(hosts.outerjoin(held, held.c.host == hosts.c.host))
            .outerjoin(running, running.c.host == hosts.c.host)
            .order_by(count.desc(), hosts.c.failures.desc(), hosts.c.host)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [_state(row) for row in connection.execute(query)]

    def counts(self) -> dict[str, int]:
        """Count the hosts whose circuit is open or half-open, and those that are paused."""
        is_open, is_paused = hosts.c.open_since.is_not(None), hosts.c.paused_at.is_not(None)
        is_tested = sa.and_(is_open, hosts.c.retry_at <= now())
        columns = {
            OPEN: sa.and_(is_open, sa.not_(is_paused), sa.not_(is_tested)),
            HALF_OPEN: sa.and_(is_tested, sa.not_(is_paused)),
            PAUSED: is_paused,
        }
        sums = [sa.func.coalesce(sa.func.sum(sa.case((one, 1), else_=0)), 0) for one in columns.values()]
        with self._database.read() as connection:
            return dict(zip(columns, connection.execute(sa.select(*sums)).one(), strict=True))

    def held(self) -> tuple[int, float]:
        """Return the number of held deliveries, and for how many seconds the oldest waits."""
        query = sa.select(sa.func.count(), now() - sa.func.min(deliveries.c.held_since)).where(
            deliveries.c.held_since.is_not(None)
        )
        with self._database.read() as connection:
            count, seconds = connection.execute(query).one()
        return count, max(0.0, seconds or 0.0)

    def known_as(self, name: str) -> list[str]:
        """Return the hosts with this name among those of pending deliveries and those in `all`.

        Args:
            name: A name or an address, in any spelling.
        """
        name = usual_name(name)
        pending = sa.select(deliveries.c.origin).where(deliveries.c.host == name, deliveries.c.status == "pending")
        with self._database.read() as connection:
            found = set(connection.execute(pending.distinct()).scalars())
            found |= set(connection.execute(sa.select(hosts.c.host)).scalars())
        return sorted(one for one in found if SecretURL(one).host == name)

    def pause(self, host: str, *, by: str | None) -> None:
        """Send nothing to a host until `resume`. Attempts that run are not interrupted.

        Args:
            host: Scheme, host and port.
            by: Name of the user who pauses it.
        """

        def pause(connection: sa.Connection) -> None:
            row = host_gates.lock(connection, host, create=True)
            if row is not None:
                host_gates.update(connection, host, paused_at=row.moment, paused_by=by, wake_at=None)

        self._database.write(pause)

    def resume(self, host: str) -> bool:
        """Send to a host again. If its circuit is open, one delivery tests the host now.

        Returns:
            False if the host was neither paused nor open.
        """

        def resume(connection: sa.Connection) -> bool:
            row = host_gates.lock(connection, host)
            if row is None or (row.paused_at is None and row.open_since is None):
                return False
            circuit = host_gates.circuit_of(row).due_now(row.moment)
            wake_at = row.moment if host_gates.has_held(connection, host) else None
            values = {"paused_at": None, "paused_by": None, "wake_at": wake_at}
            host_gates.update(connection, host, **host_gates.columns_of(circuit), **values)
            return True

        return self._database.write(resume)

    def limit(self, host: str, limits: HostLimits) -> None:
        """Replace the limits of a host; where one is None, that of the settings applies."""

        def limit(connection: sa.Connection) -> None:
            row = host_gates.lock(connection, host, create=True)
            values = {"max_concurrency": limits.max_concurrency, "max_rate": limits.max_rate, "next_slot_at": 0.0}
            if row is not None and row.wake_at is not None:
                values["wake_at"] = row.moment
            host_gates.update(connection, host, **values)

        self._database.write(limit)

    def release_due(self) -> float | None:
        """Release held deliveries of the hosts that may take some now.

        Returns:
            Seconds until more may be released; None if no host has held deliveries, or all of them are paused.
        """
        for _ in range(_ROUNDS):
            with self._database.read() as connection:
                seconds: float | None = connection.execute(_SELECT_NEXT_WAKE).scalar()
            if seconds is None or seconds > 0:
                return seconds
            self._database.write(lambda connection: holds.release_due(connection, self._policy))
        return 0.0

    def release_next(self, host: str) -> list[tuple[str, str]]:
        """Release the held deliveries that a host may take now, and return their ids and host names."""
        return self._database.write(lambda connection: holds.release_next(connection, host, self._policy))

    def end_expired(self) -> int:
        """Mark held deliveries as dead whose target has expired, or whose host was unavailable for too long."""
        is_gone = hosts.c.open_since <= now() - self._policy.max_hold
        has_expired = sa.and_(deliveries.c.held_until <= now(), deliveries.c.held_since.is_not(None))
        if not self._has(has_expired) and not self._has(is_gone):
            return 0
        return self._database.write(lambda connection: holds.end_expired(connection, self._policy))

    def disable_webhook(self, url: SecretURL) -> None:
        """Send nothing more to a webhook that is gone, until `enable_webhooks`."""
        row = {"fingerprint": _fingerprint(url), "shown_url": str(url), "host": origin(url), "disabled_at": now()}

        def disable(connection: sa.Connection) -> None:
            connection.execute(disabled_webhooks.delete().where(disabled_webhooks.c.fingerprint == row["fingerprint"]))
            connection.execute(disabled_webhooks.insert().values(row))

        self._database.write(disable)

    def is_disabled(self, url: SecretURL) -> bool:
        """Return whether a webhook is disabled."""
        return self._has(disabled_webhooks.c.fingerprint == _fingerprint(url))

    def enable_webhooks(self, url: str) -> int:
        """Send to webhooks again that were gone, and return their number.

        Args:
            url: Their URL as it is shown, without credentials; without a query it stands for those with any.
        """
        shown_url = disabled_webhooks.c.shown_url
        is_meant = sa.or_(shown_url == url, shown_url.startswith(f"{url}?", autoescape=True))
        return self._database.write(
            lambda connection: connection.execute(disabled_webhooks.delete().where(is_meant)).rowcount
        )

    def disabled_webhooks(self, *, limit: int = 1000) -> list[GoneWebhook]:
        """Return the disabled webhooks, the latest first."""
        columns = disabled_webhooks.c
        query = sa.select(columns.shown_url, columns.host, columns.disabled_at).order_by(columns.disabled_at.desc())
        with self._database.read() as connection:
            return [
                GoneWebhook(url=row[0], host=row[1], since=row[2]) for row in connection.execute(query.limit(limit))
            ]

    def _has(self, condition: sa.ColumnElement[bool]) -> bool:
        # Read before each write: a transaction that writes costs a commit, and there is rarely anything to do.
        with self._database.read() as connection:
            return bool(connection.execute(sa.select(sa.exists().where(condition))).scalar())


def _per_host(condition: sa.ColumnElement[bool], *columns: sa.ColumnElement[Any]) -> sa.Subquery:
    count = sa.func.count().label("count")
    query = sa.select(deliveries.c.origin.label("host"), count, *columns).where(condition)
    return query.group_by(deliveries.c.origin).subquery()


def _state(row: Any) -> HostState:
    circuit = host_gates.circuit_of(row)
    state = PAUSED if row.paused_at is not None else circuit.state(row.moment)
    return HostState(
        host=row.host,
        state=state,
        failures=row.failures,
        since=row.paused_at if state == PAUSED else row.open_since,
        retry_at=None if state in (CLOSED, PAUSED) else row.retry_at,
        paused_by=row.paused_by,
        last_error=row.last_error,
        limits=host_gates.limits_of(row),
        held=row.held,
        held_since=row.held_since,
        running=row.running,
    )


def _fingerprint(url: SecretURL) -> str:
    return hashlib.sha256(url.reveal().encode("utf-8", "surrogatepass")).hexdigest()
