"""Standard Webhooks, with the specification's own example."""

from __future__ import annotations

import base64
from contextlib import suppress
from datetime import datetime, timedelta, timezone

import pytest

from callback_sdk import webhooks
from callback_sdk.documents.body import Body
from callback_sdk.errors import ConfigurationError, WebhookVerificationError
from callback_sdk.text.limits import MAX_WEBHOOK_HEADER
from tests.growth import assert_linear

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
ID, TIME = "msg_p5jXN8AQM9LWM0D4loKWxJek", datetime.fromtimestamp(1614265330, timezone.utc)
BODY = b'{"test": 2432232314}'


def signed(*secrets: str, body: bytes = BODY) -> dict[str, str]:
    return webhooks.sign([webhooks.decode_secret(s) for s in secrets], ID, TIME, Body(body))


def test_specifications_example_is_signed_as_it_says() -> None:
    """The known secret, id, time and body have the known signature."""
    assert signed(SECRET) == {
        "webhook-id": ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_signed_webhook_verifies() -> None:
    """With header names in any case; the id is returned."""
    headers = {name.title(): value for name, value in signed(SECRET).items()}
    assert webhooks.verify(SECRET, headers, BODY, now=TIME) == ID


def test_secrets_rotate_on_both_sides() -> None:
    """Old receivers accept webhooks of new senders while both secrets are in use, and vice versa."""
    webhooks.verify(SECRET, signed(OTHER, SECRET), BODY, now=TIME)
    webhooks.verify([OTHER, SECRET], signed(SECRET), BODY, now=TIME)


@pytest.mark.parametrize(
    ("change", "body"),
    [
        ({"webhook-id": "msg_other"}, BODY),
        ({"webhook-timestamp": "1614265331"}, BODY),
        ({"webhook-signature": "v1,AAAA"}, BODY),
        ({"webhook-signature": "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}, BODY),
        ({"webhook-signature": "v1,é"}, BODY),
        ({}, BODY + b" "),
    ],
)
def test_a_changed_webhook_does_not_verify(change: dict[str, str], body: bytes) -> None:
    """Id, timestamp, signature and body are covered."""
    with pytest.raises(WebhookVerificationError, match="signature"):
        webhooks.verify(SECRET, {**signed(SECRET), **change}, body, now=TIME)


def test_another_secret_does_not_verify() -> None:
    """The secret counts."""
    with pytest.raises(WebhookVerificationError, match="signature"):
        webhooks.verify(OTHER, signed(SECRET), BODY, now=TIME)


@pytest.mark.parametrize("off", [timedelta(minutes=6), timedelta(minutes=-6)])
def test_webhook_of_another_time_does_not_verify(off: timedelta) -> None:
    """A recorded webhook can't be played again later."""
    with pytest.raises(WebhookVerificationError, match="clock"):
        webhooks.verify(SECRET, signed(SECRET), BODY, now=TIME + off)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_missing_header_is_named(name: str) -> None:
    """The error says which."""
    headers = {key: value for key, value in signed(SECRET).items() if key != name}
    with pytest.raises(WebhookVerificationError, match=name):
        webhooks.verify(SECRET, headers, BODY, now=TIME)


def test_without_a_secret_there_is_an_id_and_no_signature() -> None:
    """Receivers can still detect repeated deliveries."""
    assert signed() == {"webhook-id": ID, "webhook-timestamp": "1614265330"}


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_short", "whsec_!!!notbase64!!!notbase64!!!", "hunter2" * 30])
def test_secret_that_is_none_is_refused_without_repeating_it(secret: str) -> None:
    """The error tells how to make one, and doesn't show it."""
    with pytest.raises(ConfigurationError, match="24 to 64") as caught:
        webhooks.decode_secret(secret)
    assert secret == "" or secret.removeprefix("whsec_") not in str(caught.value) or secret == "whsec_"


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_long_header_is_rejected(name: str) -> None:
    """Before it is parsed; Python itself refuses to parse integers with many digits."""
    for length in (5000, MAX_WEBHOOK_HEADER + 1):
        with pytest.raises(WebhookVerificationError):
            webhooks.verify(SECRET, signed(SECRET) | {name: "1" * length}, BODY, now=TIME)


@pytest.mark.parametrize("piece", ["v1,", "v1, ", "v1,a ", ",", " "])
def test_time_grows_with_the_signatures_and_not_faster(piece: str) -> None:
    """Each signature is compared once with each secret's."""

    def work(signatures: str) -> None:
        with suppress(WebhookVerificationError):
            webhooks.verify([SECRET, OTHER], signed(SECRET) | {"webhook-signature": signatures}, BODY, now=TIME)

    assert_linear(work, (piece * 512)[:512], (piece * 8192)[:8192], ratio=16)
