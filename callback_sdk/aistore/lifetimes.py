"""When a token is renewed, whatever its lifetime and the time of day on this machine."""

from __future__ import annotations

import base64
import binascii
import json
import math
import time
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from callback_sdk.redaction import Secret

LARGEST_MARGIN = 0.25
"""Largest part of a token's lifetime that is left when the token is renewed. A margin that is longer than the lifetime
would renew it before each request."""


def clock() -> float:
    """Return the seconds since an arbitrary moment; unlike the time of day, they are never set.

    On Linux they go on while the machine is suspended: `time.monotonic` stands still then.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def lifetime(token: Secret[str], date: str | None) -> float:
    """Return for how many seconds a token is valid from now on; infinity if that is unknown.

    Args:
        token: A JSON Web Token (RFC 7519).
        date: The header `Date` of the response with the token; None without one. The lifetime is measured with the
            clock that the expiry was computed with.
    """
    end = _expiry(token)
    left = end - _seconds(date)
    return left if left > 0 else math.inf


def renew_after(life: float, margin: float) -> float:
    """Return the age in seconds at which a token is renewed.

    Args:
        life: Its lifetime in seconds.
        margin: Seconds before its expiry, at most a quarter of the lifetime.
    """
    return life - min(margin, life * LARGEST_MARGIN) if life < math.inf else math.inf


def _expiry(token: Secret[str]) -> float:
    """Return when a token expires, in seconds since 1970; infinity if it doesn't say."""
    try:
        payload = token.reveal().split(".")[1]
        claims: Any = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        if "exp" in claims:
            return float(claims["exp"])
        # Tokens of AIStore before 4.0 have this claim of its own.
        return datetime.fromisoformat(claims["expires"][:19]).replace(tzinfo=timezone.utc).timestamp()
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, binascii.Error):
        return math.inf


def _seconds(date: str | None) -> float:
    try:
        return parsedate_to_datetime(date or "").timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return time.time()
