"""Expiry times of signed URLs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from callback_sdk.errors import InvalidTargetError
from callback_sdk.redaction import SecretURL

_V4_TIME = re.compile("([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z")

_ISO_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:T([0-9]{2}:[0-9]{2})(?::([0-9]{2})(?:\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_EARLIEST = EPOCH + timedelta(seconds=10**9)
"""In September 2001, five years before the first of these stores, seconds since 1970 got their tenth digit."""


def parse_expiry(url: SecretURL, time: Callable[[], datetime]) -> datetime:
    """Return the expiry of a signed URL.

    Args:
        url: The signed URL, for the error's text.
        time: Parses the expiry in the URL; raises ValueError if it is missing or malformed.

    Raises:
        InvalidTargetError: The expiry is missing or malformed.
    """
    problem = ""
    try:
        expires_at = time()
        if is_plausible(expires_at):
            return expires_at
        problem = "its expiry has lost digits"
    except (ValueError, OverflowError):
        pass
    raise incomplete_url_error(url, problem)


def is_plausible(expires_at: datetime) -> bool:
    """Return whether an expiry hasn't lost digits."""
    return expires_at >= _EARLIEST


def incomplete_url_error(url: SecretURL, problem: str = "") -> InvalidTargetError:
    """Return the error for a signed URL with a missing or malformed part.

    Args:
        url: The signed URL.
        problem: What is missing or malformed, without values of the URL.
    """
    return InvalidTargetError(
        f"The signed URL {url} is incomplete{f': {problem}' if problem else ''}.",
        hint="Copy the complete URL from where it was signed; it was truncated or escaped. In a shell, put it in "
        "single quotes: an '&' ends a command.",
        url=str(url),
    )


def check_lifetime(url: SecretURL, lifetime: timedelta, limit: timedelta | None) -> None:
    """Reject a URL that is signed for longer than its store accepts.

    Args:
        url: The signed URL.
        lifetime: How long it is signed for.
        limit: The maximum; None if it isn't known.

    Raises:
        InvalidTargetError: It is signed for longer.
    """
    if limit is not None and lifetime > limit:
        raise InvalidTargetError(
            f"{url} is signed for {lifetime.total_seconds():.0f} seconds, and its store rejects more than "
            f"{limit.total_seconds():.0f} ({limit.days} days).",
            hint="Presign with a shorter lifetime, shortly before the task is submitted.",
            url=str(url),
        )


def seconds(url: SecretURL, name: str) -> timedelta:
    """Parse a parameter with a number of seconds."""
    text = url.query(name) or ""
    if not re.fullmatch("[0-9]{1,12}", text):
        raise ValueError(name)
    return timedelta(seconds=int(text))


def v4_time(url: SecretURL, name: str) -> datetime:
    """Parse a time in the format of Signature Version 4, `20260131T120000Z`."""
    return parse_v4_time(url.query(name) or "")


def parse_v4_time(text: str) -> datetime:
    """Parse a time in this format."""
    match = _V4_TIME.fullmatch(text)
    if match is None:
        raise ValueError("not a time of Signature Version 4")
    return datetime(*map(int, match.groups()), tzinfo=timezone.utc)  # type: ignore[arg-type, misc]


def iso_time(url: SecretURL, name: str) -> datetime:
    """Parse a time in the format of shared access signatures: ISO 8601, in UTC if it has no offset."""
    match = _ISO_TIME.fullmatch(url.query(name) or "")
    if match is None:
        raise ValueError(name)
    date, minutes, second, offset = match.groups()
    # .NET writes seven digits of the fraction, of which fromisoformat() of Python 3.10 takes three or six.
    time = datetime.fromisoformat(f"{date}T{minutes or '00:00'}:{second or '00'}{_offset(offset)}")
    return time.astimezone(timezone.utc)


def _offset(text: str | None) -> str:
    return "+00:00" if text in (None, "Z") else text
