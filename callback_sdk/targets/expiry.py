"""When the signature in a URL ends."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from callback_sdk.errors import InvalidTargetError
from callback_sdk.redaction import SecretURL

_V4_TIME = re.compile("([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z")

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def read_end(url: SecretURL, time: Callable[[], datetime]) -> datetime:
    """Return when a signature ends.

    Args:
        url: The target, for the error's text.
        time: Reads it from the URL; a ValueError means that it isn't there.

    Raises:
        InvalidTargetError: It can't be read.
    """
    try:
        return time()
    except (ValueError, OverflowError):
        pass
    raise cut_off(url)


def cut_off(url: SecretURL) -> InvalidTargetError:
    """Return the error for a URL of which a part is missing."""
    return InvalidTargetError(
        f"The signature of {url} is not whole.",
        hint="A part of its query is missing or broken; in a shell, put the URL in single quotes, as it has '&'.",
        url=str(url),
    )


def seconds(url: SecretURL, name: str) -> timedelta:
    """Read a number of seconds."""
    text = url.query(name) or ""
    if not re.fullmatch("[0-9]{1,12}", text):
        raise ValueError(name)
    return timedelta(seconds=int(text))


def v4_time(url: SecretURL, name: str) -> datetime:
    """Read a time as Signature Version 4 has it."""
    match = _V4_TIME.fullmatch(url.query(name) or "")
    if match is None:
        raise ValueError(name)
    return datetime(*map(int, match.groups()), tzinfo=timezone.utc)  # type: ignore[arg-type, misc]


def iso_time(url: SecretURL, name: str) -> datetime:
    """Read a time as shared access signatures have it."""
    text = (url.query(name) or "").replace("Z", "+00:00")
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
