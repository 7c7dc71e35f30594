"""Decides which alerts are sent: pure, from the problems that exist now and the alerts of before.

The terms and defaults follow Prometheus' Alertmanager: an alert fires after its problem has existed for a while, is
repeated after `REPEAT_INTERVAL`, and is resolved once. Times are seconds of one clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from attrs import asdict, define, evolve

FIRING = "firing"
RESOLVED = "resolved"

REPEAT_INTERVAL = 4 * 3600.0
"""Seconds after which an alert is sent again while its problem exists; Alertmanager's `repeat_interval`."""

GROWTH_INTERVAL = 900.0
"""Seconds after which it is sent again if the problem is at least twice as large as when it was last sent."""

RESOLVE_DELAY = 60.0
"""Seconds without the problem after which the alert is resolved: one that comes back before has not ended."""

FLAP_INTERVAL = 900.0
"""Seconds after its last message in which a resolved alert doesn't fire again: a problem may come and go."""


@define(frozen=True, kw_only=True)
class Problem:
    """Something that needs an operator.

    Attributes:
        name: Identifies it, such as `circuit-open https://example.org`.
        kind: Its kind, such as `circuit-open`.
        summary: What is wrong, in one sentence, without credentials.
        hint: What to do next.
        size: How large it is, such as the number of dead deliveries.
        delay: Seconds that it must exist before its alert fires.
    """

    name: str
    kind: str
    summary: str
    hint: str
    size: float = 1.0
    delay: float = 0.0


@define(frozen=True, kw_only=True)
class Alert:
    """The alert of a problem.

    Attributes:
        problem: The problem, as it was last seen.
        since: When it began.
        seen_at: When it was last seen.
        notified_at: When a message about it was last made; None if none was.
        notified_size: Its size in that message.
        ended_at: When it was resolved; None while it fires.
    """

    problem: Problem
    since: float
    seen_at: float
    notified_at: float | None = None
    notified_size: float = 0.0
    ended_at: float | None = None

    @property
    def is_firing(self) -> bool:
        """Whether operators have been told that it fires."""
        return self.notified_at is not None and self.ended_at is None

    def to_dict(self) -> dict[str, Any]:
        """Return the form that is stored as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Alert:
        """Parse the stored form."""
        return cls(**{**data, "problem": Problem(**data["problem"])})


@define(frozen=True)
class Change:
    """What a message says of an alert.

    Attributes:
        status: `FIRING` or `RESOLVED`.
        alert: The alert, with this message counted.
    """

    status: str
    alert: Alert

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of a message; times are seconds since 1970."""
        problem = self.alert.problem
        return {
            "name": problem.name,
            "kind": problem.kind,
            "status": self.status,
            "summary": problem.summary,
            "hint": problem.hint if self.status == FIRING else "",
            "size": problem.size,
            "since": self.alert.since,
            "ended_at": self.alert.ended_at,
        }


def observe(
    alerts: Mapping[str, Alert], problems: Sequence[Problem], now: float, *, unknown: Collection[str] = ()
) -> dict[str, Alert]:
    """Return the alerts after an observation, without deciding on messages.

    Args:
        alerts: The alerts of before, by name.
        problems: The problems that exist now.
        now: The time.
        unknown: Kinds that could not be observed, whose problems may still exist.
    """
    found = {problem.name: _update(alerts.get(problem.name), problem, now) for problem in problems}
    kept = {name: alert for name, alert in alerts.items() if name not in found}
    for name, alert in kept.items():
        if alert.problem.kind in unknown and alert.ended_at is None:
            found[name] = evolve(alert, seen_at=now)
        elif _is_kept(alert, now):
            found[name] = alert
    return found


def decide(alerts: Mapping[str, Alert], now: float) -> list[Change]:
    """Return what a message that is made now says; empty if there is nothing to say.

    Args:
        alerts: From `observe`, at the same time.
        now: The time.
    """
    changes = []
    for alert in sorted(alerts.values(), key=lambda one: (one.since, one.problem.name)):
        if alert.is_firing and alert.seen_at < now and now - alert.seen_at >= RESOLVE_DELAY:
            changes.append(Change(RESOLVED, evolve(alert, ended_at=alert.seen_at, notified_at=now)))
        elif alert.ended_at is None and alert.seen_at == now and _is_news(alert, now):
            told = evolve(alert, notified_at=now, notified_size=alert.problem.size)
            changes.append(Change(FIRING, told))
    return changes


def last_message(alerts: Mapping[str, Alert]) -> float:
    """Return when the last message was made; 0 if none was."""
    return max((alert.notified_at or 0.0 for alert in alerts.values()), default=0.0)


def _update(alert: Alert | None, problem: Problem, now: float) -> Alert:
    if alert is None:
        return Alert(problem=problem, since=now, seen_at=now)
    if alert.ended_at is None:
        return evolve(alert, problem=problem, seen_at=now)
    if now - (alert.notified_at or 0.0) < FLAP_INTERVAL:
        # It has come back too soon for another message; its own time goes on.
        return evolve(alert, seen_at=now)
    return Alert(problem=problem, since=now, seen_at=now)


def _is_kept(alert: Alert, now: float) -> bool:
    """Return whether an alert whose problem isn't seen is still needed."""
    if alert.ended_at is not None:
        return now - (alert.notified_at or 0.0) < FLAP_INTERVAL
    return alert.is_firing or now - alert.seen_at < RESOLVE_DELAY


def _is_news(alert: Alert, now: float) -> bool:
    if alert.notified_at is None:
        return now - alert.since >= alert.problem.delay
    passed = now - alert.notified_at
    has_grown = alert.problem.size >= 2 * alert.notified_size and passed >= GROWTH_INTERVAL
    return has_grown or passed >= REPEAT_INTERVAL
