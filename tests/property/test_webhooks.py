"""webhooks.verify raises a single type of error for any input."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callback_sdk import webhooks
from callback_sdk.documents.body import Body
from callback_sdk.errors import WebhookVerificationError

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEYS = [webhooks.decode_secret(SECRET)]
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)

anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.binary(max_size=50),
    st.text(max_size=50),
    st.lists(st.text()),
)
times = st.one_of(
    st.sampled_from(["nan", "-1", "inf", "1e9", "0x10", "\u0661\u0662", "9" * 30, "9" * 5000, "", " 1", "1_000", "-0"]),
    st.integers().map(str),
    anything,
)
names = st.sampled_from(["webhook-id", "Webhook-Timestamp", "WEBHOOK-SIGNATURE", b"webhook-id", "other"])


class Odd:
    """A mapping that isn't one."""

    def items(self) -> Iterator[tuple[Any, ...]]:
        yield ("webhook-id",)
        raise KeyError


def refuses(headers: Any, body: Any) -> None:
    with pytest.raises(WebhookVerificationError) as caught:
        webhooks.verify(SECRET, headers, body, now=NOW)
    assert caught.value.hint


@settings(max_examples=200)
@given(
    headers=st.one_of(anything, st.just(Odd()), st.dictionaries(st.one_of(names, st.text(), st.integers()), anything)),
    body=anything,
)
def test_any_invalid_request_raises_the_same_type(headers: Any, body: Any) -> None:
    """None, numbers, bytes and mappings that raise cause no other exception."""
    refuses(headers, body)


@settings(max_examples=200)
@given(identifier=st.one_of(st.text(min_size=1), anything), seconds=times, signature=st.one_of(st.text(), anything))
def test_any_header_is_refused_in_one_way(identifier: Any, seconds: Any, signature: Any) -> None:
    """Surrogates, other scripts' digits, and numbers that no integer or no clock can hold."""
    refuses({"webhook-id": identifier, "webhook-timestamp": seconds, "webhook-signature": signature}, b"{}")


@settings(max_examples=100)
@given(seconds=st.one_of(times, st.text(min_size=1)).filter(lambda value: isinstance(value, str) and bool(value)))
def test_a_signed_invalid_timestamp_is_rejected(seconds: str) -> None:
    """Even if the sender has the secret."""
    signature = KEYS[0].sign("msg_1", seconds, Body(b"{}"))
    refuses({"webhook-id": "msg_1", "webhook-timestamp": seconds, "webhook-signature": signature}, b"{}")


@given(body=st.binary(max_size=200), offset=st.integers(-300, 300))
def test_signed_webhooks_verify_in_any_form(body: bytes, offset: int) -> None:
    """Headers may be text or bytes, and the body any bytes-like object."""
    headers = webhooks.sign(KEYS, "msg_1", NOW + timedelta(seconds=offset), Body(body))
    raw = {name.upper().encode(): value.encode() for name, value in headers.items()}
    for given_headers, given_body in ((headers, body), (raw, bytearray(body)), (headers, memoryview(body))):
        assert webhooks.verify(SECRET, given_headers, given_body, now=NOW) == "msg_1"
