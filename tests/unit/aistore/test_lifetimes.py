"""callback_sdk.aistore.lifetimes"""

from __future__ import annotations

import base64
import json
import math
import time
from email.utils import formatdate
from typing import Any

import pytest

from callback_sdk.aistore.lifetimes import lifetime, renew_after
from callback_sdk.redaction import Secret


def jwt(**claims: Any) -> Secret[str]:
    return Secret(f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.signature")


@pytest.mark.parametrize(
    ("life", "margin", "age"),
    [
        (86_400, 60, 86_340),
        (240, 60, 180),
        (60, 60, 45),
        (1, 60, 0.75),
        (100, 99.9, 75),
        (100, 0, 100),
        (math.inf, 60, math.inf),
    ],
)
def test_margin_is_a_part_of_the_lifetime(life: float, margin: float, age: float) -> None:
    """A token is used for most of its lifetime, however short that is."""
    assert renew_after(life, margin) == age


@pytest.mark.parametrize("skew", [0, -7200, 7200])
def test_lifetime_is_measured_with_the_servers_clock(skew: int) -> None:
    """A clock of this machine that is wrong by hours neither shortens nor extends it."""
    server = 1_790_000_000 + skew
    assert lifetime(jwt(exp=server + 300), formatdate(server, usegmt=True)) == 300


@pytest.mark.parametrize("date", [None, "", "yesterday", "Mon, 99 Foo 2026 00:00:00 GMT"])
def test_without_a_date_the_own_clock_counts(date: str | None) -> None:
    """A proxy may have removed or broken the header."""
    assert 295 < lifetime(jwt(exp=time.time() + 300), date) <= 300


@pytest.mark.parametrize(
    "token",
    [
        *(Secret("one"), Secret("a.b.c"), Secret("a.////.c"), Secret("..")),
        *(jwt(), jwt(exp="soon"), jwt(exp=None), jwt(exp=[1]), jwt(expires="never"), jwt(expires=7)),
        Secret(f"e30.{base64.urlsafe_b64encode(b'[1]').decode()}.x"),
        Secret("e30.eyJleHAiOiAxZTk5OX0.x"),
    ],
)
def test_token_without_an_expiry_has_no_end(token: Secret[str]) -> None:
    """It is used until it is rejected."""
    assert lifetime(token, None) == math.inf


def test_token_that_has_expired_already_is_used_until_it_is_rejected() -> None:
    """The cluster decides, and not the clock of this machine: there would be a log-in for each request."""
    assert lifetime(jwt(exp=1), None) == math.inf


def test_former_tokens_of_aistore_are_read() -> None:
    """They have a claim of their own, with nanoseconds and a time zone."""
    date = formatdate(1_790_000_000, usegmt=True)
    assert lifetime(jwt(expires="2026-09-21T14:18:20.123456789Z"), date) == 1_790_000_300 - 1_790_000_000
