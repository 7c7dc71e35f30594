"""When to try again, when to wait, and when never to."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from callback_sdk.errors import DeliveryError, TargetError

RETRYABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses of a passing fault; any other below 500 is an answer for good."""

RETRYABLE_CODES = frozenset(
    {"ConditionalRequestConflict", "InternalError", "OperationAborted", "RequestTimeout", "ServerBusy", "SlowDown"}
    | {"ServiceUnavailable"}
)
"""Error codes of object stores for a passing fault, whatever status they come with."""

LONGEST_RETRY_AFTER = timedelta(hours=1)
"""More than a server may make us wait."""

SERVICE_DELAYS = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
)
"""Pauses between the tries of a durable delivery; after the last one it is dead."""

_FIRST_BACKOFF = timedelta(milliseconds=200)
_LONGEST_BACKOFF = timedelta(seconds=20)


def is_retryable(status: int, code: str | None = None) -> bool:
    """Tell a passing fault from an answer for good.

    Args:
        status: HTTP status.
        code: The store's error code, when there was one.
    """
    return status in RETRYABLE_STATUSES or code in RETRYABLE_CODES


def backoff(attempts: int) -> timedelta:
    """Return how long to wait within one process: full jitter, so that many clients don't come back at once.

    Args:
        attempts: Tries made so far, at least 1.
    """
    longest: timedelta = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * (1 << min(attempts - 1, 16)))
    return longest * random.random()  # noqa: S311 (jitter is no secret)


def service_delay(attempts: int, delays: Sequence[timedelta] = SERVICE_DELAYS) -> timedelta | None:
    """Return how long the service waits before the next try of a delivery.

    Args:
        attempts: Tries made so far, at least 1.
        delays: The pauses between tries.

    Returns:
        The delay, up to a tenth longer than its step; None when it is time to give up.
    """
    if attempts > len(delays):
        return None
    return delays[attempts - 1] * (1 + random.random() / 10)  # noqa: S311 (jitter is no secret)


def next_delay(error: Exception, attempts: int, delays: Sequence[timedelta] = SERVICE_DELAYS) -> timedelta | None:
    """Return how long a durable delivery waits after a try that failed.

    Args:
        error: Why it failed. What isn't an error of ours may be a passing fault as well.
        attempts: Tries made so far, at least 1.
        delays: The pauses between tries.

    Returns:
        The delay; None when there is no point in another try.
    """
    delay = service_delay(attempts, delays)
    if delay is None or isinstance(error, TargetError):
        return None
    if not isinstance(error, DeliveryError):
        return delay
    return max(delay, timedelta(seconds=error.retry_after or 0.0)) if error.retryable else None


def parse_retry_after(value: str | None, *, now: datetime | None = None) -> timedelta | None:
    """Read a `Retry-After` header (RFC 9110, section 10.2.3): seconds, or a date.

    Returns:
        How long to wait, at most an hour; None without the header or when it can't be read.
    """
    if not value:
        return None
    text = value.strip()
    try:
        if text.isascii() and text.isdigit():
            delay = timedelta(seconds=min(int(text), 10**6)) if len(text) < 10 else LONGEST_RETRY_AFTER
        else:
            from email.utils import parsedate_to_datetime

            date = parsedate_to_datetime(text)
            date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
            delay = date - (now or datetime.now(timezone.utc))
    except (ValueError, OverflowError):
        return None
    return max(timedelta(0), min(delay, LONGEST_RETRY_AFTER))
