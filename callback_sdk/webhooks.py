"""Sign and verify webhooks by the Standard Webhooks specification.

Source: https://github.com/standard-webhooks/standard-webhooks, `spec/standard-webhooks.md`, symmetric signatures `v1`.
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
from callback_sdk.parsing import Duration, several, total_seconds
from callback_sdk.redaction import Secret, clearing_locals
from callback_sdk.text.limits import MAX_WEBHOOK_HEADER

PREFIX = "whsec_"

_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")

TOLERANCE = timedelta(minutes=5)
"""Maximum difference between a webhook's timestamp and the receiver's clock."""


def decode_secret(secret: str | Secret[str]) -> Secret[bytes]:
    """Return the key of a webhook secret.

    Args:
        secret: Base64, with or without the prefix `whsec_`.

    Raises:
        ConfigurationError: The secret is not base64, or not 24 to 64 bytes long. The message doesn't contain it.
    """
    secret = secret if isinstance(secret, Secret) else Secret(secret)
    try:
        key = Secret(base64.b64decode(secret.reveal().removeprefix(PREFIX), validate=True))
    except (binascii.Error, ValueError, AttributeError, TypeError):
        # TypeError and AttributeError: the secret is not a string.
        key = Secret(b"")
    if not 24 <= len(key.reveal()) <= 64:
        raise ConfigurationError(
            "A webhook secret must be the base64 of 24 to 64 random bytes.",
            hint="Generate one with: python -c \"import base64, os; print('whsec_' + "
            'base64.b64encode(os.urandom(32)).decode())"',
        )
    return key


@clearing_locals
def sign(keys: Iterable[Secret[bytes]], webhook_id: str, timestamp: datetime, body: Body) -> dict[str, str]:
    """Return the headers of a webhook.

    Args:
        keys: Signing keys, newest first. Receivers accept any of the signatures, so that secrets can be rotated.
            Without keys the webhook has an id and a timestamp, and no signature.
        webhook_id: The same in every attempt of one delivery.
        timestamp: Time of this attempt.
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
    tolerance: Duration = TOLERANCE,
    now: datetime | None = None,
) -> str:
    """Verify a received webhook. Call this before parsing its body.

    Args:
        secrets: The signing secret, or all that are currently valid.
        headers: The request's headers; names in any letter case.
        body: The raw request body.
        tolerance: Maximum difference between its timestamp and the clock, a `timedelta` or seconds; older replays
            are rejected.
        now: The clock, for tests.

    Returns:
        The webhook's id. Delivery is at least once: store ids for longer than `tolerance`, and ignore a webhook whose
        id is already stored.

    Raises:
        WebhookVerificationError: A header is missing, the signature is wrong, or the timestamp outside the tolerance.
            No other error is raised, regardless of headers and body.
        ConfigurationError: A secret can't be decoded, or `tolerance` is not a duration.
    """
    max_age = total_seconds("tolerance", tolerance, zero=True)
    keys = [decode_secret(Secret(s)) for s in ([secrets] if isinstance(secrets, str) else several("secrets", secrets))]
    given = _texts(headers)
    missing = [name for name in _HEADERS if not given.get(name)]
    if missing:
        raise WebhookVerificationError(
            f"The header {missing[0]} is missing.", hint="Respond with 400. A proxy may have removed it."
        )
    if any(len(given[name]) > MAX_WEBHOOK_HEADER for name in _HEADERS):
        raise WebhookVerificationError(
            f"A header of the webhook has more than {MAX_WEBHOOK_HEADER} characters.", hint="Respond with 400."
        )
    seconds = given["webhook-timestamp"]
    expected = [_signature(key, given["webhook-id"], seconds, _body(body)) for key in keys]
    entries = given["webhook-signature"].encode("utf-8", "surrogatepass").split()
    signatures = [entry.partition(b",")[2] for entry in entries if entry.startswith(b"v1,")]
    # All pairs are compared, in constant time each: how long it takes must not tell which secret or signature matched.
    matches = [hmac.compare_digest(a.encode(), b) for a in expected for b in signatures]
    if not any(matches):
        raise WebhookVerificationError(
            "Webhook signature verification failed.",
            hint="Verify the raw body, before any JSON parsing, with the sender's secret.",
        )
    _check_time(seconds, max_age, now or datetime.now(timezone.utc))
    return given["webhook-id"]


def _texts(headers: Any) -> dict[str, str]:
    """Return headers by lower-case names. ASGI frameworks have names and values as bytes."""
    try:
        pairs = [(_text(name), _text(value)) for name, value in headers.items()]
    except Exception:  # noqa: BLE001 - a foreign mapping may raise anything
        pairs = None
    if pairs is None:
        raise WebhookVerificationError(
            f"The headers are of type {type(headers).__name__}, which is not a mapping of names to values.",
            hint="Pass the headers of the request.",
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


def _check_time(seconds: str, max_age: float, now: datetime) -> None:
    # int() raises ValueError for more than 4,300 digits (CVE-2020-10735).
    is_number = seconds.isascii() and seconds.isdigit() and len(seconds) <= 20
    if not is_number or abs(int(seconds) - now.timestamp()) > max_age:
        raise WebhookVerificationError(
            "The webhook timestamp is outside the tolerance.",
            hint="Respond with 400, and check this machine's clock.",
        )


def _signature(key: Secret[bytes], webhook_id: str, seconds: str, body: Body) -> str:
    digest = hmac.new(key.reveal(), f"{webhook_id}.{seconds}.".encode("utf-8", "surrogatepass"), hashlib.sha256)
    for chunk in body.chunks():
        digest.update(chunk)
    return base64.b64encode(digest.digest()).decode()
