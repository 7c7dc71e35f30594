"""A circuit breaker for the deliveries to one host, with a rate and a concurrency limit: decisions, without I/O.

The service asks it when a delivery is claimed (`service.store.host_gates`). The terms are those of "Circuit Breaker" in
M. Nygard's Release It!. Times are seconds of one clock.
"""

from __future__ import annotations

import math

from attrs import define, evolve

CLOSED = "closed"
OPEN = "open"
HALF_OPEN = "half-open"
"""States of a circuit: deliveries are sent, held, or sent one at a time."""

FAILURES = 5
"""Failures in a row that open a circuit, as in Envoy's outlier detection."""

FIRST_OPEN = 15.0
"""Seconds for which a circuit is open at first. They double with each failed probe."""

MAX_OPEN = 300.0
"""Maximum seconds for which a circuit is open, unless the host asks for more by `Retry-After`."""

RAMP = 16
"""Successes after which a host that is available again gets as many deliveries at a time as any other."""

_POLL = 5.0
"""Seconds until a host without a free slot is looked at again, if the end of no attempt is noticed before."""

_RATE_POLL = 60.0
"""Seconds after which a host at its rate is looked at again, as a restart may have changed the rate."""

_ROUNDING = 0.001
"""Seconds by which sums of times may differ."""

_BURST = 1.0
"""Seconds in which a host may get the deliveries of its rate at once."""


@define(frozen=True, kw_only=True)
class Circuit:
    """The circuit of one host.

    Attributes:
        failures: Transient failures in a row.
        openings: How often it has opened since the host last was at full speed.
        open_since: When it opened; None while it is closed.
        retry_at: When one delivery may test the host; None while it is closed.
        recovered: Successes since it closed, up to `RAMP`; None at full speed.
    """

    failures: int = 0
    openings: int = 0
    open_since: float | None = None
    retry_at: float | None = None
    recovered: int | None = None

    def state(self, now: float) -> str:
        """Return `CLOSED`, `OPEN` or `HALF_OPEN`."""
        if self.open_since is None:
            return CLOSED
        return OPEN if self.retry_at is not None and self.retry_at > now else HALF_OPEN

    def window(self, now: float) -> float:
        """Return how many deliveries may run at a time: one to test the host, and one more after each success."""
        if self.open_since is not None:
            return 0 if self.state(now) == OPEN else 1
        return math.inf if self.recovered is None else 1 + self.recovered

    def after_failure(self, now: float, *, threshold: int, retry_after: float = 0.0, jitter: float = 0.0) -> Circuit:
        """Return the circuit after a transient failure.

        Args:
            now: The time.
            threshold: Failures in a row that open it.
            retry_after: Seconds that the host asked for; 0 for none.
            jitter: A random number from 0 to 1, so that circuits that opened together aren't tested together.
        """
        counted = evolve(self, failures=self.failures + 1)
        if self.state(now) == OPEN:
            # The attempt began before the circuit opened, so its failure says nothing new.
            return evolve(counted, retry_at=max(self.retry_at or 0.0, now + retry_after))
        if self.open_since is None and counted.failures < threshold:
            return counted
        period = min(MAX_OPEN, FIRST_OPEN * 2.0 ** min(self.openings, 16)) * (1 - jitter / 4)
        return evolve(
            counted,
            openings=self.openings + 1,
            open_since=now if self.open_since is None else self.open_since,
            retry_at=now + max(period, retry_after),
            recovered=None,
        )

    def after_success(self) -> Circuit:
        """Return the circuit after a response of a host that works, whether it took the delivery or rejected it."""
        if self.open_since is not None:
            return Circuit(openings=self.openings, recovered=0)
        recovered = None if self.recovered is None else self.recovered + 1
        if recovered is None or recovered >= RAMP:
            return Circuit()
        return Circuit(openings=self.openings, recovered=recovered)

    def due_now(self, now: float) -> Circuit:
        """Return an open circuit as half-open, whatever its period; any other unchanged."""
        return self if self.open_since is None else evolve(self, retry_at=min(now, self.retry_at or now))


@define(frozen=True, kw_only=True)
class HostLimits:
    """Limits of the deliveries to one host.

    Attributes:
        max_concurrency: Maximum number of deliveries at a time, over all processes; None for no limit.
        max_rate: Maximum number of deliveries per second, over all processes; None for no limit.
    """

    max_concurrency: int | None = None
    max_rate: float | None = None

    def __bool__(self) -> bool:
        return self.max_concurrency is not None or self.max_rate is not None

    def over(self, defaults: HostLimits) -> HostLimits:
        """Return these limits, and the defaults where there is none."""
        return HostLimits(
            max_concurrency=defaults.max_concurrency if self.max_concurrency is None else self.max_concurrency,
            max_rate=defaults.max_rate if self.max_rate is None else self.max_rate,
        )

    def start_of(self, next_slot_at: float, now: float) -> float:
        """Return `next_slot_at`, or now if it is later than this rate allows: a lower rate applied when it was set.

        Args:
            next_slot_at: See `Gate`.
            now: The time.
        """
        ahead = 0.0 if self.max_rate is None else max(_BURST, 1 / self.max_rate)
        return now if next_slot_at > now + ahead + _ROUNDING else next_slot_at


NO_LIMITS = HostLimits()


@define(frozen=True, kw_only=True)
class HostPolicy:
    """What applies to every host.

    Attributes:
        failures: Failures in a row that open a circuit.
        limits: Limits of hosts without limits of their own.
        max_hold: Seconds that a delivery waits at most for a host that stays unavailable.
    """

    failures: int = FAILURES
    limits: HostLimits = NO_LIMITS
    max_hold: float = 7 * 86400.0


DEFAULT_POLICY = HostPolicy()


@define(frozen=True, kw_only=True)
class Gate:
    """Decides how many deliveries to a host may start.

    Attributes:
        circuit: The host's circuit.
        is_paused: Whether an operator has paused the host.
        limits: Its limits.
        next_slot_at: When the next delivery would start if all kept the distance of the rate (GCRA; ITU-T I.371).
    """

    circuit: Circuit
    is_paused: bool = False
    limits: HostLimits = NO_LIMITS
    next_slot_at: float = 0.0

    def free(self, now: float, running: int) -> float:
        """Return how many deliveries may start now.

        Args:
            now: The time.
            running: Deliveries to the host that run, in all processes.
        """
        if self.is_paused:
            return 0
        window = min(self.circuit.window(now), self.limits.max_concurrency or math.inf)
        return max(0.0, min(window - running, self._free_by_rate(now)))

    def opens_at(self, now: float) -> float | None:
        """Return when deliveries may start at the earliest; None if the host is paused."""
        if self.is_paused:
            return None
        if self.circuit.state(now) == OPEN:
            return self.circuit.retry_at
        rate = self.limits.max_rate
        wait = 0.0 if rate is None else self.next_slot_at - self._slack(rate)
        return min(wait, now + _RATE_POLL) if wait > now else now + _POLL

    def after_start(self, now: float) -> float:
        """Return `next_slot_at` after the start of a delivery."""
        rate = self.limits.max_rate
        return 0.0 if rate is None else max(now, self.next_slot_at) + 1 / rate

    def _free_by_rate(self, now: float) -> float:
        rate = self.limits.max_rate
        if rate is None:
            return math.inf
        return math.floor((now + self._slack(rate) - max(now, self.next_slot_at)) * rate + 1e-6) + 1

    @staticmethod
    def _slack(rate: float) -> float:
        return max(0.0, _BURST - 1 / rate)
