"""Standard Webhooks: sign what is sent, verify what is received.

Source: the Standard Webhooks specification, symmetric signatures `v1`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from callback_sdk.documents.body import Body
from callback_sdk.errors import ConfigurationError, WebhookVerificationError
from callback_sdk.parsing import several
from callback_sdk.redaction import Secret, clearing_locals
from callback_sdk.text.limits import MAX_WEBHOOK_HEADER

PREFIX = "whsec_"

_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")

TOLERANCE = timedelta(minutes=5)
"""How far a webhook's time may be from the receiver's clock."""


def decode_secret(secret: str | Secret[str]) -> Secret[bytes]:
    """Return the key of a webhook secret.

    Args:
        secret: Base64, with or without the prefix `whsec_`.

    Raises:
        ConfigurationError: It is no base64, or shorter than 24 bytes; the secret is not in the text.
    """
    secret = secret if isinstance(secret, Secret) else Secret(secret)
    try:
        key = Secret(base64.b64decode(secret.reveal().removeprefix(PREFIX), validate=True))
    except (binascii.Error, ValueError, AttributeError, TypeError):
        # Also what is no text at all.
        key = Secret(b"")
    if not 24 <= len(key.reveal()) <= 64:
        raise ConfigurationError(
            "A webhook secret is the base64 of 24 to 64 random bytes.",
            hint="Make one with: python -c \"import base64, os; print('whsec_' + "
            'base64.b64encode(os.urandom(32)).decode())"',
        )
    return key


@clearing_locals
def sign(keys: Iterable[Secret[bytes]], webhook_id: str, timestamp: datetime, body: Body) -> dict[str, str]:
    """Return the headers of a webhook.

    Args:
        keys: What to sign with, the newest first; a receiver accepts any, which is how secrets rotate.
            With none the webhook has an id and a time, and no signature.
        webhook_id: Stable over the tries of one delivery.
        timestamp: When this try is made.
        body: The request's body.
    """
    seconds = str(int(timestamp.timestamp()))
    headers = {"webhook-id": webhook_id, "webhook-timestamp": seconds}
    signatures = [f"v1,{_signature(key, webhook_id, seconds, body)}" for key in keys]
    if signatures:
        headers["webhook-signature"] = " ".join(signatures)
    return headers


@clearing_locals
def verify(
    secrets: str | Iterable[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    tolerance: timedelta = TOLERANCE,
    now: datetime | None = None,
) -> str:
    """Verify a webhook that was received. Look at the body only afterwards.

    Args:
        secrets: The secret, or all that are valid at the moment.
        headers: The request's headers; names in any case.
        body: The request's body, byte for byte as it came.
        tolerance: How far its time may be from the clock; replays beyond it are refused.
        now: The clock, for tests.

    Returns:
        The webhook's id. Keep it for longer than `tolerance` and ignore an id that you have seen:
        a delivery may come twice.

    Raises:
        WebhookVerificationError: A header is missing, the signature doesn't hold, or the time is too far off; whatever
            headers and body are.
        ConfigurationError: A secret is none.
    """
    keys = [decode_secret(Secret(s)) for s in ([secrets] if isinstance(secrets, str) else several("secrets", secrets))]
    given = _texts(headers)
    missing = [name for name in _HEADERS if not given.get(name)]
    if missing:
        raise WebhookVerificationError(
            f"The header {missing[0]} is missing.", hint="Answer 400; a proxy may have dropped it."
        )
    if any(len(given[name]) > MAX_WEBHOOK_HEADER for name in _HEADERS):
        raise WebhookVerificationError(
            f"A header of the webhook has more than {MAX_WEBHOOK_HEADER} characters.", hint="Answer 400."
        )
    seconds = given["webhook-timestamp"]
    expected = [_signature(key, given["webhook-id"], seconds, _body(body)) for key in keys]
    entries = given["webhook-signature"].encode("utf-8", "surrogatepass").split()
    signatures = [entry.partition(b",")[2] for entry in entries if entry.startswith(b"v1,")]
    # Every pair is compared, so that the time tells nothing.
    matches = [hmac.compare_digest(a.encode(), b) for a in expected for b in signatures]
    if not any(matches):
        raise WebhookVerificationError(
            "The webhook's signature doesn't hold.",
            hint="Verify the raw body, before any JSON parsing, with the secret that the sender has.",
        )
    _check_time(seconds, tolerance, now or datetime.now(timezone.utc))
    return given["webhook-id"]


def _texts(headers: Any) -> dict[str, str]:
    """Return the headers of a request by their names in lower case; frameworks may give them as bytes."""
    try:
        pairs = [(_text(name), _text(value)) for name, value in headers.items()]
    except Exception:  # noqa: BLE001 - a mapping of somebody else's may raise anything
        pairs = None
    if pairs is None:
        raise WebhookVerificationError(
            f"The headers are of type {type(headers).__name__}, which is not a mapping of names to values.",
            hint="Pass on the headers of the request.",
        )
    return {name.lower(): value for name, value in pairs}


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else ""


def _body(body: Any) -> Body:
    if not isinstance(body, (bytes, bytearray, memoryview)):
        raise WebhookVerificationError(
            f"The body is of type {type(body).__name__}, and not bytes.",
            hint="Verify the raw body, before any decoding or JSON parsing.",
        )
    return Body(bytes(body))


def _check_time(seconds: str, tolerance: timedelta, now: datetime) -> None:
    # Python refuses to read integers of more than 4,300 digits.
    is_number = seconds.isascii() and seconds.isdigit() and len(seconds) <= 20
    if not is_number or abs(int(seconds) - now.timestamp()) > tolerance.total_seconds():
        raise WebhookVerificationError(
            "The webhook's time is too far from this clock.",
            hint="Answer 400, and check that the clock is right.",
        )


def _signature(key: Secret[bytes], webhook_id: str, seconds: str, body: Body) -> str:
    digest = hmac.new(key.reveal(), f"{webhook_id}.{seconds}.".encode("utf-8", "surrogatepass"), hashlib.sha256)
    for chunk in body.chunks():
        digest.update(chunk)
    return base64.b64encode(digest.digest()).decode()
