"""The signing context: timestamp, scope, signing key and expiry of Signature Version 4 signatures.

Source: "Signature Version 4" in Amazon's S3 API reference; RFC 2104 for the HMAC.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from attrs import define

from callback_sdk.redaction import Secret
from callback_sdk.signer.buckets import Location
from callback_sdk.signer.credentials import SigningCredentials

ALGORITHM = "AWS4-HMAC-SHA256"


@define(frozen=True, kw_only=True)
class SigningContext:
    """The common parts of all signatures with one timestamp and one lifetime.

    Attributes:
        stamp: Timestamp, in the format of `X-Amz-Date`.
        scope: Credential scope: date, region and service.
        credential: The access key with the scope.
        token: The session token; None for long-term credentials.
        seconds: Validity of a signature in seconds.
        expires_at: Expiry of the signatures, in UTC.
    """

    stamp: str
    scope: str
    credential: str
    token: Secret[str] | None
    seconds: int
    expires_at: datetime
    _key: Secret[bytes]

    @classmethod
    def at(
        cls, now: datetime, seconds: int, place: Location, credentials: SigningCredentials, key: Secret[bytes]
    ) -> SigningContext:
        """Return the context of signatures that are made at a given time.

        Args:
            now: The time, in UTC.
            seconds: Validity of the signatures in seconds.
            place: Location of the bucket.
            credentials: The signing credentials.
            key: The signing key from `day_key`.
        """
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{stamp[:8]}/{place.region}/{place.service}/aws4_request"
        return cls(
            stamp=stamp,
            scope=scope,
            credential=f"{credentials.access_key}/{scope}",
            token=credentials.token,
            seconds=seconds,
            expires_at=now.replace(microsecond=0) + timedelta(seconds=seconds),
            key=key,
        )

    def signatures(self, beginning: str = "") -> Callable[[bytes], str]:
        """Return a function that signs strings with a common prefix.

        The hash of the prefix is computed once: copying the state of a hash costs less than a new HMAC.
        """
        block = self._key.reveal().ljust(_BLOCK, b"\0")
        inner = hashlib.sha256(block.translate(_INNER) + beginning.encode())
        outer = hashlib.sha256(block.translate(_OUTER))

        def sign(text: bytes) -> str:
            first, second = inner.copy(), outer.copy()
            first.update(text)
            second.update(first.digest())
            return second.hexdigest()

        return sign


def day_key(day: str, place: Location, credentials: SigningCredentials) -> Secret[bytes]:
    """Derive the signing key of a date, region and service."""
    key = Secret(f"AWS4{credentials.secret_key.reveal()}".encode())
    for part in (day, place.region, place.service, "aws4_request"):
        key = Secret(hmac.digest(key.reveal(), part.encode(), hashlib.sha256))
    return key


def utc(seconds: float) -> datetime:
    """Convert seconds since 1970 to a datetime."""
    return datetime.fromtimestamp(seconds, timezone.utc)


_BLOCK = hashlib.sha256().block_size
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
