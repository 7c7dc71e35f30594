"""Sign and verify webhooks by the Standard Webhooks specification.

Source: https://github.com/standard-webhooks/standard-webhooks, `spec/standard-webhooks.md`: symmetric signatures `v1`
(HMAC-SHA256) and asymmetric ones `v1a` (Ed25519, RFC 8032). For the latter the receiver has a public key only, with
which it can't sign. They need the extra `ed25519`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal

from attrs import define

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.documents.body import Body
from callback_sdk.errors import ConfigurationError, WebhookVerificationError, needs_extra
from callback_sdk.parsing import Duration, several, total_seconds
from callback_sdk.redaction import Secret, clearing_locals
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.limits import MAX_WEBHOOK_HEADER

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Scheme = Literal["v1", "v1a"]
"""Identifier of a kind of signatures: `"v1"` is HMAC-SHA256, `"v1a"` is Ed25519."""

PREFIX = "whsec_"
"""Prefix of a secret for `v1`."""

PRIVATE_PREFIX, PUBLIC_PREFIX = "whsk_", "whpk_"
"""Prefixes of the secret key and the public key for `v1a`."""

_SEED, _SIGNATURE = 32, 64
"""Bytes of an Ed25519 key and of a signature (RFC 8032, section 5.1)."""

_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")

TOLERANCE = timedelta(minutes=5)
"""Maximum difference between a webhook's timestamp and the receiver's clock."""


@define(frozen=True)
class SigningKey:
    """A key that signs webhooks.

    Attributes:
        scheme: Kind of its signatures.
        key: The key of HMAC-SHA256; or the 32 bytes of an Ed25519 key, which its public key may follow.
    """

    scheme: Scheme
    key: Secret[bytes]

    def check(self) -> None:
        """Check that the key can sign.

        Raises:
            ConfigurationError: The public key in an Ed25519 key is that of another one.
            MissingExtraError: The extra `ed25519` is not installed.
        """
        if self.scheme == "v1a":
            _private_key(self.key)

    def sign(self, webhook_id: str, seconds: str, body: Body) -> str:
        """Return a signature with its scheme, such as `v1,g0hM9SsE...`.

        Args:
            webhook_id: The header `webhook-id`.
            seconds: The header `webhook-timestamp`.
            body: The request's body.

        Raises:
            ConfigurationError: The key can't sign; see `check`.
        """
        if self.scheme == "v1":
            return f"v1,{_hmac(self.key, webhook_id, seconds, body)}"
        signature = _private_key(self.key).sign(_signed_content(webhook_id, seconds, body))
        return f"v1a,{base64.b64encode(signature).decode()}"


SigningKeys = Callable[[], Sequence[SigningKey]]
"""Returns the keys that currently sign, newest first."""


def decode_secret(secret: str | Secret[str]) -> SigningKey:
    """Return the signing key of a webhook secret.

    Args:
        secret: Base64: with the prefix `whsec_` or without one for `v1`, with `whsk_` for `v1a`.

    Raises:
        ConfigurationError: The secret is not base64, or its length is wrong. The message doesn't contain it.
    """
    secret = secret if isinstance(secret, Secret) else Secret(secret)
    if _has_prefix(secret, PUBLIC_PREFIX):
        raise ConfigurationError(
            f"The webhook secret is a public key ({PUBLIC_PREFIX}), which can't sign.",
            hint=f"Give the secret key ({PRIVATE_PREFIX}). The public key is for receivers.",
        )
    if _has_prefix(secret, PRIVATE_PREFIX):
        key = _decode(secret, PRIVATE_PREFIX)
        if len(key.reveal()) not in (_SEED, 2 * _SEED):
            raise ConfigurationError(
                f"A webhook's secret key ({PRIVATE_PREFIX}) must be the base64 of 32 or 64 bytes.",
                hint="Generate one with webhooks.generate_secret('v1a').",
            )
        return SigningKey("v1a", key)
    key = _decode(secret, PREFIX)
    if not 24 <= len(key.reveal()) <= 64:
        raise ConfigurationError(
            "A webhook secret must be the base64 of 24 to 64 random bytes.",
            hint="Generate one with webhooks.generate_secret(). The v1, of a signature doesn't belong to a secret.",
        )
    return SigningKey("v1", key)


@clearing_locals
def generate_secret(scheme: Scheme = "v1") -> str:
    """Generate a webhook secret from 256 random bits.

    Args:
        scheme: `"v1"` for a secret that sender and receiver share; `"v1a"` for a secret key of the sender, whose
            `public_key` receivers get.

    Raises:
        ConfigurationError: The scheme is unknown.
        MissingExtraError: The extra `ed25519` is not installed.
    """
    if scheme not in ("v1", "v1a"):
        raise ConfigurationError(f"scheme is {short_repr(scheme)}.", hint="Give 'v1' or 'v1a'.")
    key = os.urandom(_SEED)
    if scheme == "v1":
        return PREFIX + base64.b64encode(key).decode()
    return PRIVATE_PREFIX + base64.b64encode(key + _public_bytes(Secret(key))).decode()


@clearing_locals
def public_key(secret: str | Secret[str]) -> str:
    """Return the public key of a secret key, for receivers: both have Ed25519's format, in base64 with a prefix.

    Args:
        secret: The secret key, with the prefix `whsk_`.

    Raises:
        ConfigurationError: It is not a secret key.
        MissingExtraError: The extra `ed25519` is not installed.
    """
    key = decode_secret(secret)
    if key.scheme != "v1a":
        raise ConfigurationError(
            f"A secret of {PREFIX} has no public key: sender and receiver share it.",
            hint="Generate a secret key with webhooks.generate_secret('v1a').",
        )
    return PUBLIC_PREFIX + base64.b64encode(_public_bytes(key.key)).decode()


@clearing_locals
def sign(keys: Iterable[SigningKey], webhook_id: str, timestamp: datetime, body: Body) -> dict[str, str]:
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
    signatures = [key.sign(webhook_id, seconds, body) for key in keys]
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
        secrets: The signing secret or the public key of the sender, or all that are currently valid.
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
        MissingExtraError: The extra `ed25519`, for public keys, is not installed.
    """
    max_age = total_seconds("tolerance", tolerance, zero=True)
    given_secrets = [secrets] if isinstance(secrets, str) else several("secrets", secrets)
    keys = [verification_key(Secret(secret)) for secret in given_secrets]
    given = texts_of(headers)
    missing = [name for name in _HEADERS if not given.get(name)]
    if missing:
        raise WebhookVerificationError(
            f"The header {missing[0]} is missing.", hint="Respond with 401. A proxy may have removed it."
        )
    if any(len(given[name]) > MAX_WEBHOOK_HEADER for name in _HEADERS):
        raise WebhookVerificationError(
            f"A header of the webhook has more than {MAX_WEBHOOK_HEADER} characters.", hint="Respond with 401."
        )
    seconds = given["webhook-timestamp"]
    entries = given["webhook-signature"].encode("utf-8", "surrogatepass").split()
    # All pairs are compared, in constant time each: how long it takes must not tell which secret or signature matched.
    matches = [_matches(key, entries, given["webhook-id"], seconds, _body(body)) for key in keys]
    if not any(matches):
        raise WebhookVerificationError(
            "Webhook signature verification failed.",
            hint="Verify the raw body, before any JSON parsing, with the sender's secret.",
        )
    _check_time(seconds, max_age, now or datetime.now(timezone.utc))
    return given["webhook-id"]


def texts_of(headers: Any) -> dict[str, str]:
    """Return headers by lower-case names. ASGI frameworks have names and values as bytes.

    Args:
        headers: A mapping of names to values.

    Raises:
        WebhookVerificationError: It is not a mapping.
    """
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
            hint="Respond with 401, and check this machine's clock.",
        )


def verification_key(secret: Secret[str]) -> SigningKey:
    """Return the key of a receiver.

    Args:
        secret: The shared secret for `v1`, or the public key for `v1a`.

    Raises:
        ConfigurationError: It can't be decoded, or is the secret key for `v1a`.
    """
    if _has_prefix(secret, PRIVATE_PREFIX):
        raise ConfigurationError(
            f"Webhooks are not verified with the sender's secret key ({PRIVATE_PREFIX}).",
            hint=f"Give the public key ({PUBLIC_PREFIX}): webhooks.public_key(secret).",
        )
    if not _has_prefix(secret, PUBLIC_PREFIX):
        return decode_secret(secret)
    key = _decode(secret, PUBLIC_PREFIX)
    if len(key.reveal()) != _SEED:
        raise ConfigurationError(
            f"A webhook's public key ({PUBLIC_PREFIX}) must be the base64 of 32 bytes.", hint="Copy it again, whole."
        )
    return SigningKey("v1a", key)


def _matches(key: SigningKey, entries: list[bytes], webhook_id: str, seconds: str, body: Body) -> bool:
    """Return whether one of several signatures is that of a receiver's key."""
    prefix = f"{key.scheme},".encode()
    found = [entry.removeprefix(prefix) for entry in entries if entry.startswith(prefix)]
    if key.scheme == "v1":
        expected = _hmac(key.key, webhook_id, seconds, body).encode()
        matches = [hmac.compare_digest(expected, one) for one in found]
        return any(matches)
    content = _signed_content(webhook_id, seconds, body)
    return any(_is_of_public_key(key.key, one, content) for one in found)


def _is_of_public_key(key: Secret[bytes], encoded: bytes, content: bytes) -> bool:
    with no_fork, needs_extra("ed25519"):
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        signature = base64.b64decode(encoded, validate=True)
        Ed25519PublicKey.from_public_bytes(key.reveal()).verify(signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True


def _private_key(key: Secret[bytes]) -> Ed25519PrivateKey:
    with no_fork, needs_extra("ed25519"):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.from_private_bytes(key.reveal()[:_SEED])
    if key.reveal()[_SEED:] not in (b"", private.public_key().public_bytes_raw()):
        raise ConfigurationError(
            f"The two halves of a webhook's secret key ({PRIVATE_PREFIX}) don't belong together.",
            hint="Copy it again, whole.",
        )
    return private


def _public_bytes(key: Secret[bytes]) -> bytes:
    return _private_key(key).public_key().public_bytes_raw()


def _has_prefix(secret: Secret[Any], prefix: str) -> bool:
    return isinstance(secret.reveal(), str) and secret.reveal().strip().startswith(prefix)


def _decode(secret: Secret[Any], prefix: str) -> Secret[bytes]:
    """Return the bytes of a secret; none if it is not base64. Some senders leave its padding out."""
    try:
        text = Secret(secret.reveal().strip().removeprefix(prefix).rstrip("="))
        return Secret(base64.b64decode(text.reveal() + "=" * (-len(text.reveal()) % 4), validate=True))
    except (binascii.Error, ValueError, AttributeError, TypeError):
        # TypeError and AttributeError: the secret is not a string.
        return Secret(b"")


def _signed_content(webhook_id: str, seconds: str, body: Body) -> bytes:
    return b"".join([_start(webhook_id, seconds), *body.chunks()])


def _start(webhook_id: str, seconds: str) -> bytes:
    return f"{webhook_id}.{seconds}.".encode("utf-8", "surrogatepass")


def _hmac(key: Secret[bytes], webhook_id: str, seconds: str, body: Body) -> str:
    digest = hmac.new(key.reveal(), _start(webhook_id, seconds), hashlib.sha256)
    for chunk in body.chunks():
        digest.update(chunk)
    return base64.b64encode(digest.digest()).decode()
