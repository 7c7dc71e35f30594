"""The retry policy."""

from __future__ import annotations

import errno
import ssl
from datetime import datetime, timedelta, timezone

import pytest

from callback_sdk.errors import (
    DeliveryError,
    MultipleDeliveryErrors,
    OutputError,
    RefreshError,
    TargetExpiredError,
)
from callback_sdk.transport.proxy_errors import ProxyUnreachableError, TunnelError
from callback_sdk.transport.retry import (
    backoff,
    is_host_available,
    is_retryable,
    next_delay,
    parse_retry_after,
    service_delay,
)

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 505, 507, 520, 522, 530, 599])
def test_transient_failures_are_retried(status: int) -> None:
    """Timeouts, overload, and every 5xx, also those of content delivery networks that no RFC has."""
    assert is_retryable(status)


def test_request_that_a_store_does_not_implement_is_not_retried() -> None:
    """Its 501 has a code, and a retry would get the same response."""
    assert not is_retryable(501, "NotImplemented")


@pytest.mark.parametrize("status", [0, 301, 400, 401, 403, 404, 405, 409, 411, 412, 413, 499, 600, 999])
def test_answers_for_good_are_not(status: int) -> None:
    """The same request would get the same answer."""
    assert not is_retryable(status)


@pytest.mark.parametrize("code", ["SlowDown", "InternalError", "RequestTimeout"])
def test_codes_of_stores_count_regardless_of_the_status(code: str) -> None:
    """S3 sends RequestTimeout with status 400."""
    assert is_retryable(400, code)


def test_backoff_grows_and_has_an_end() -> None:
    """Full jitter between nothing and a bound that doubles up to 20 s."""
    for attempts, bound in [(1, 0.2), (2, 0.4), (5, 3.2), (8, 20), (10_000, 20)]:
        assert all(timedelta(0) <= backoff(attempts) <= timedelta(seconds=bound) for _ in range(50))


def test_service_waits_longer_each_time_and_then_gives_up() -> None:
    """Eight retries over 18 hours."""
    steps = [5, 30, 120, 600, 1800, 7200, 18000, 36000]
    delays = [service_delay(attempts) for attempts in range(1, 9)]
    assert all(
        step <= (delay or timedelta(0)).total_seconds() <= step * 1.1 for step, delay in zip(steps, delays, strict=True)
    )
    assert service_delay(9) is None


def test_durable_delivery_ends_after_permanent_failures() -> None:
    """An invalid target, a permanent error, and the end of the schedule; a longer Retry-After is honoured."""
    passing = DeliveryError("busy", retryable=True, retry_after=90.0)
    assert next_delay(passing, 1) == timedelta(seconds=90)
    assert (next_delay(passing, 3) or timedelta()) >= timedelta(minutes=2)
    assert (next_delay(RuntimeError(), 1) or timedelta()) >= timedelta(seconds=5)
    assert (
        next_delay(passing, 9)
        is next_delay(DeliveryError("no"), 1)
        is next_delay(TargetExpiredError("late"), 1)
        is next_delay(OutputError("the document's name"), 1)
        is None
    )
    assert next_delay(OutputError("unreadable", retryable=True), 1) is not None


@pytest.mark.parametrize(
    ("value", "delay"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60),
        ("Wed, 31 Dec 2025 23:59:00 GMT", 0),
        ("1.5", 1.5),
        ("0.25", 0.25),
        ("2.", 2),
        ("0003", 3),
        ("1." + "3" * 5000, 1.3333333),
        ("2814, 2", 2814),
        ("0.5,1.5 , 1", 1.5),
        ("999999", 3600),
        ("1000000.5", 3600),
        ("9" * 30, 3600),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, delay: float) -> None:
    """Decimals count, a date in the past means now, and no server delays an attempt by more than an hour."""
    assert parse_retry_after(value, now=NOW) == timedelta(seconds=delay)


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            "",
            "soon",
            "-5",
            "-1.5",
            "+5",
            "1e3",
            "0x10",
            "inf",
            "nan",
            ".5",
            "5 s",
            "1.2.3",
            "1_0",
            "²",
            "٣",
        ),
        *(
            "Thu, 99 Foo 2026",
            "Thu, 01 Jan 99999999999 00:00:00 GMT",
            "Thu, 01 Jan 2026 00:00:00 +99999999",
            ",",
            "1 2",
        ),
        "Thu, 01 Jan 2026 00:00:00 GMT" + "(" * 100_000,
    ],
)
def test_retry_after_that_cannot_be_read_counts_as_none(value: str | None) -> None:
    """A broken header breaks nothing."""
    assert parse_retry_after(value, now=NOW) is None


def caused(error: DeliveryError, cause: BaseException) -> DeliveryError:
    error.__cause__ = cause
    return error


AWAY = caused(DeliveryError("refused", retryable=True), ConnectionRefusedError(errno.ECONNREFUSED, "refused"))


@pytest.mark.parametrize(
    ("error", "is_available"),
    [
        (AWAY, False),
        (caused(DeliveryError("TLS", retryable=True, transient=False), ssl.SSLError()), False),
        (DeliveryError("busy", status=503, retryable=True), False),
        (DeliveryError("limit", status=429, retryable=True), False),
        (DeliveryError("slow down", status=400, code="SlowDown", retryable=True), False),
        (DeliveryError("expired", status=403, code="AccessDenied"), True),
        (DeliveryError("invalid", status=400), True),
        (DeliveryError("damaged", status=400, code="BadDigest", retryable=True), True),
        (DeliveryError("gone", status=410), True),
        (DeliveryError("missing", status=501, code="NotImplemented"), True),
        (caused(DeliveryError("files", retryable=True), OSError(errno.EMFILE, "too many")), None),
        (caused(DeliveryError("proxy away", retryable=True), ProxyUnreachableError("away")), None),
        (caused(DeliveryError("proxy login", retryable=True), TunnelError(407)), None),
        (caused(DeliveryError("proxy overloaded", retryable=True), TunnelError(500)), None),
        (caused(DeliveryError("proxy reached nothing", retryable=True), TunnelError(504)), False),
        (DeliveryError("a defect", retryable=True, transient=False), None),
        (RefreshError("the issuer is away", status=503, retryable=True), None),
        (TargetExpiredError("expired"), None),
        (OutputError("a file", retryable=True), None),
        (MultipleDeliveryErrors([TargetExpiredError("expired"), AWAY]), False),
        (MultipleDeliveryErrors([TargetExpiredError("expired"), DeliveryError("x", status=403)]), True),
        (RuntimeError(), None),
    ],
    ids=repr,
)
def test_a_failure_counts_for_its_host_only_if_others_would_have_it_too(error: Exception, is_available: bool) -> None:
    """A response about one delivery shows that the host works; what never reached the host shows nothing."""
    assert is_host_available(error) is is_available
