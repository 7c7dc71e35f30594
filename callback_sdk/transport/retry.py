"""Retry policies: retryable failures and delays. `docs/retries.md` has the same lists; a test compares them.

There are two: within a process, exponential backoff with full jitter for minutes (`backoff`); in the outbox and the
service, whose deliveries are durable, a table of delays for hours (`next_delay`). Both need `DeliveryError.retryable`;
the first needs `DeliveryError.transient` too, as some failures end only when somebody acts.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.errors import DeliveryError, MultipleDeliveryErrors, OutputError, RefreshError, TargetError
from callback_sdk.transport.proxy_errors import ProxyUnreachableError, TunnelError

RETRYABLE_STATUSES = frozenset({408, 425, 429, *range(500, 600)})
"""Statuses of transient failures: writer, outbox, service and client retry the same ones.

All of 5xx: content delivery networks have further codes (Cloudflare's 520 to 530), load balancers respond with 501
and 505 while a server is being replaced, and RFC 9110, section 15, has an unknown 5xx treated as 500.
408, 425 and 429 are in RFC 9110, section 15.5.9, RFC 8470, section 5.2, and RFC 6585, section 4.
"""

RETRYABLE_CODES = frozenset(
    {"BadDigest", "ConditionalRequestConflict", "IncompleteBody", "InternalError", "InvalidBlockList", "InvalidPart"}
    | {"Md5Mismatch", "OperationAborted", "RequestTimeout", "ServerBusy", "ServiceUnavailable", "SlowDown"}
)
"""Error codes of object stores for transient failures, regardless of the status: "Error responses" in Amazon's S3 API
reference (some come with 400 or 409), "Common REST API error codes" in Azure's. A body that doesn't have its digest or
length was damaged on its way: the signer can't have signed a digest before the document existed."""

PERMANENT_CODES = frozenset({"NotImplemented"})
"""Error codes of object stores that aren't retried although their status is: S3's 501 for an unsupported header."""

_OVERLOAD_CODES = frozenset({"InternalError", "RequestTimeout", "ServerBusy", "ServiceUnavailable", "SlowDown"})
"""Error codes of object stores that would respond to other requests in the same way."""

_OF_THIS_MACHINE = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOMEM, errno.ENOBUFS})
"""Errors of connections that say nothing about the host."""

MAX_RETRY_AFTER = timedelta(hours=1)
"""Upper limit of `Retry-After`."""

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
"""Delays between the attempts of a durable delivery, 17.7 h in all; after the last one it is dead."""

MAX_DELAY = max(SERVICE_DELAYS) * 1.1 + MAX_RETRY_AFTER
"""Longest delay of a durable delivery: a later `next_attempt` was written while the clock was wrong."""

_SECONDS = re.compile(r"([0-9]+)(\.[0-9]*)?")

_MAX_LIST = 10_000
"""Characters of a list of delays."""

_MAX_DATE = 64
"""Characters of an HTTP date (29 in RFC 9110, section 5.6.7), with room for other forms."""

_INITIAL_BACKOFF = timedelta(milliseconds=200)
_MAX_BACKOFF = timedelta(seconds=20)


def is_retryable(status: int, code: str | None = None) -> bool:
    """Return whether a response is a transient failure.

    Args:
        status: HTTP status.
        code: The store's error code, if it sent one.
    """
    return code not in PERMANENT_CODES and (status in RETRYABLE_STATUSES or code in RETRYABLE_CODES)


def backoff(attempts: int) -> timedelta:
    """Return the delay within one process: exponential backoff with full jitter, so that clients don't retry in step.

    Source: "Exponential Backoff And Jitter" in Amazon's Architecture Blog.

    Args:
        attempts: Attempts made so far, at least 1.
    """
    max_pause: timedelta = min(_MAX_BACKOFF, _INITIAL_BACKOFF * (1 << min(attempts - 1, 16)))
    return max_pause * _random()


def service_delay(attempts: int, delays: Sequence[timedelta] = SERVICE_DELAYS) -> timedelta | None:
    """Return the delay before the next attempt of a durable delivery.

    Args:
        attempts: Attempts made so far, at least 1.
        delays: Delays between attempts.

    Returns:
        The delay with up to 10 % jitter; None after the last attempt.
    """
    if attempts > len(delays):
        return None
    return delays[attempts - 1] * (1 + _random() / 10)


def _random() -> float:
    # Imported here, because most deliveries need no retry.
    with no_fork:
        import random

    return random.random()  # noqa: S311 (jitter is not a secret)


def next_delay(error: Exception, attempts: int, delays: Sequence[timedelta] = SERVICE_DELAYS) -> timedelta | None:
    """Return the delay of a durable delivery after a failed attempt.

    Args:
        error: The error of the attempt. Errors of other packages count as transient.
        attempts: Attempts made so far, at least 1.
        delays: Delays between attempts.

    Returns:
        The delay; None if the delivery has failed permanently.
    """
    delay = service_delay(attempts, delays)
    if delay is None or isinstance(error, TargetError):
        return None
    if isinstance(error, OutputError):
        return delay if error.retryable else None
    if not isinstance(error, DeliveryError):
        return delay
    return max(delay, timedelta(seconds=error.retry_after or 0.0)) if error.retryable else None


def is_host_available(error: Exception) -> bool | None:
    """Return whether a failed attempt shows that its host works.

    Args:
        error: The error of the attempt.

    Returns:
        False after a failure that other deliveries to the host would have too; True after any other response, such as
        one that rejects a signature; None when no request reached the host, or the failure is of this machine or
        of a proxy.
    """
    if isinstance(error, MultipleDeliveryErrors):
        found = {is_host_available(one) for one in error.errors}
        return False if False in found else True if True in found else None
    if not isinstance(error, DeliveryError) or isinstance(error, RefreshError):
        return None
    if error.status is None:
        is_network = isinstance(error.__cause__, OSError) and not _is_before_target(error.__cause__)
        return False if error.retryable and is_network else None
    is_overloaded = error.status in RETRYABLE_STATUSES or error.code in _OVERLOAD_CODES
    return not (error.retryable and is_overloaded)


def _is_before_target(failure: OSError) -> bool:
    """Return whether a connection failed in this machine or at a proxy, so that nothing is known of the target."""
    if isinstance(failure, TunnelError):
        return not failure.is_of_target
    return isinstance(failure, ProxyUnreachableError) or failure.errno in _OF_THIS_MACHINE


def parse_retry_after(value: str | None, *, now: datetime | None = None) -> timedelta | None:
    """Parse a `Retry-After` header (RFC 9110, section 10.2.3): seconds, or a date.

    Decimals are accepted: rate limiters send them, although the RFC has whole seconds only.

    Returns:
        The delay, at most an hour; None without the header or if it is malformed.
    """
    text = (value or "").strip()
    # Proxies join two fields of one name with a comma (RFC 9110, section 5.3).
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
