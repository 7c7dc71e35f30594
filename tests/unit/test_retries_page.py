"""docs/retries.md: the list that readers see is the one that the code has."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from callback_sdk.transport import retry

PAGE = (Path(__file__).parents[2] / "docs" / "retries.md").read_text()


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def test_statuses_are_the_codes() -> None:
    """Single ones and ranges."""
    (listed,) = re.findall(r"Retried: ([\d, -]+)\.", section("HTTP status codes"))
    ranges = [[int(end) for end in part.split("-")] for part in listed.split(", ")]
    assert {status for ends in ranges for status in range(ends[0], ends[-1] + 1)} == retry.RETRYABLE_STATUSES


@pytest.mark.parametrize(
    ("verb", "codes"), [("Retried", retry.RETRYABLE_CODES), ("Never retried", retry.PERMANENT_CODES)]
)
def test_error_codes_are_the_codes(verb: str, codes: frozenset[str]) -> None:
    """Those of object stores, in both directions."""
    paragraph = re.search(
        rf"^{verb} regardless of the status: (.+?)\.", section("Error codes of object stores"), re.DOTALL | re.MULTILINE
    )
    assert paragraph is not None
    assert set(re.findall(r"`(\w+)`", paragraph[1])) == codes


def test_backoff_is_the_codes() -> None:
    """The schedule of durable deliveries, in order."""
    units = {"s": "seconds", "min": "minutes", "h": "hours"}
    (line,) = [line for line in section("Backoff").splitlines() if "then the delivery is dead" in line]
    pauses = [timedelta(**{units[unit]: int(number)}) for number, unit in re.findall(r"(\d+) (s|min|h)\b", line)]
    assert tuple(pauses) == retry.SERVICE_DELAYS
    assert "up to one hour" in section("Backoff")
    assert timedelta(hours=1) == retry.MAX_RETRY_AFTER
