"""The clock by which deliveries check expiries and sign requests, and receipts get their times."""

from __future__ import annotations

from datetime import datetime, timezone


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(timezone.utc)
