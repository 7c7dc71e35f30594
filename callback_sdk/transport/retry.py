"""When to try again, when to wait, and when never to. `docs/retries.md` has the same list for readers."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.errors import DeliveryError, TargetError

RETRYABLE_STATUSES = frozenset({408, 425, 429, *range(500, 600)})
"""Statuses of a transient failure: writer, outbox, service and client retry the same ones.

All of 5xx: content delivery networks have their own (Cloudflare's 520 to 530), and load balancers answer 501 and 505 in
the place of a server that is being replaced (RFC 9110, section 15.6: an unknown 5xx is to be treated as 500).
"""

RETRYABLE_CODES = frozenset(
    {"ConditionalRequestConflict", "InternalError", "OperationAborted", "RequestTimeout", "ServerBusy", "SlowDown"}
    | {"ServiceUnavailable"}
)
"""Error codes of object stores for a passing fault, whatever status they come with."""

PERMANENT_CODES = frozenset({"NotImplemented"})
"""Error codes of object stores that aren't retried although their status is: the store understood the request."""

MAX_RETRY_AFTER = timedelta(hours=1)
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

MAX_DELAY = max(SERVICE_DELAYS) * 1.1 + MAX_RETRY_AFTER
"""No durable delivery waits longer for its next attempt. A later time was written by a clock that was wrong."""

_SECONDS = re.compile(r"([0-9]+)(\.[0-9]*)?")

_MAX_LIST = 10_000
"""Characters of a list of pauses."""

_MAX_DATE = 64
"""Characters of an HTTP date, with room for other forms."""

_INITIAL_BACKOFF = timedelta(milliseconds=200)
_MAX_BACKOFF = timedelta(seconds=20)


def is_retryable(status: int, code: str | None = None) -> bool:
    """Tell a passing fault from an answer for good.

    Args:
        status: HTTP status.
        code: The store's error code, when there was one.
    """
    return code not in PERMANENT_CODES and (status in RETRYABLE_STATUSES or code in RETRYABLE_CODES)


def backoff(attempts: int) -> timedelta:
    """Return how long to wait within one process: full jitter, so that many clients don't come back at once.

    Args:
        attempts: Tries made so far, at least 1.
    """
    max_pause: timedelta = min(_MAX_BACKOFF, _INITIAL_BACKOFF * (1 << min(attempts - 1, 16)))
    return max_pause * random.random()  # noqa: S311 (jitter is no secret)


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

    Decimals are accepted, as rate limiters send them although the RFC has whole seconds only.

    Returns:
        How long to wait, at most an hour; None without the header or when it can't be read.
    """
    text = (value or "").strip()
    # Proxies join two headers of one name with a comma.
    seconds = [_SECONDS.fullmatch(part.strip()) for part in text[:_MAX_LIST].split(",")]
    delays = [_parse_seconds(match[1], match[2]) for match in seconds if match is not None]
    is_list = len(delays) == len(seconds)
    delay = max(delays) if is_list else _parse_date(text, now or datetime.now(timezone.utc))
    return None if delay is None else max(timedelta(0), min(delay, MAX_RETRY_AFTER))


def _parse_seconds(whole: str, decimals: str | None) -> timedelta:
    # A number of many digits overflows a timedelta.
    if len(whole.lstrip("0")) > 6:
        return MAX_RETRY_AFTER
    return timedelta(seconds=float(f"{whole}{(decimals or '')[:7]}"))


def _parse_date(text: str, now: datetime) -> timedelta | None:
    with no_fork:
        from email.utils import parsedate_to_datetime

    if len(text) > _MAX_DATE:
        return None
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=timezone.utc)) - now
    except (ValueError, TypeError, IndexError, OverflowError):
        # The parser of e-mail dates raises each of these for some text (CPython's gh-126033 and relatives).
        return None
