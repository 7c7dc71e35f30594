"""Presigned URLs with one timestamp.

Source: "Authenticating requests: using query parameters" in Amazon's S3 API reference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlsplit

from callback_sdk.models import PresignedPut
from callback_sdk.redaction import Secret, SecretFields
from callback_sdk.signer.buckets import Location
from callback_sdk.signer.signing_context import ALGORITHM, SigningContext


def put_urls(place: Location, headers: Mapping[str, str], context: SigningContext) -> Callable[[str], PresignedPut]:
    """Return a function that signs a URL for a key from `encode_key`. The function raises no errors.

    Args:
        place: Location of the bucket.
        headers: Signed headers by lower-case names, without `host`.
        context: Timestamp, credentials and validity.
    """
    signed = signed_urls("PUT", place, headers, context)
    carried, expires_at = SecretFields(headers), context.expires_at

    def sign(key: str) -> PresignedPut:
        return PresignedPut(url=signed(key), headers=carried, expires_at=expires_at)

    return sign


def signed_urls(
    method: str, place: Location, headers: Mapping[str, str], context: SigningContext
) -> Callable[..., Secret[str]]:
    """Return a function that signs a URL for a key from `encode_key`, and for parameters of the request.

    Everything that doesn't depend on them is computed once. The parameters are sorted by name, and each begins with a
    lower-case letter: `partNumber=1&uploadId=a`.

    Args:
        method: HTTP method of the request.
        place: Location of the bucket.
        headers: Signed headers by lower-case names, without `host`.
        context: Timestamp, credentials and validity.
    """
    names = sorted(["host", *headers])
    listed = f"&X-Amz-SignedHeaders={_escape(';'.join(names))}"
    head = (
        f"X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={_escape(context.credential)}"
        f"&X-Amz-Date={context.stamp}&X-Amz-Expires={context.seconds}"
    )
    token = "" if context.token is None else f"&X-Amz-Security-Token={_escape(context.token.reveal())}"
    lines = "".join(f"{name}:{place.host if name == 'host' else ' '.join(headers[name].split())}\n" for name in names)
    # The canonical query is sorted by name; the URL has botocore's order, with the token after the headers.
    start = f"{method}\n{urlsplit(place.put_url).path}"
    middle, rest = f"\n{head}{token}{listed}", f"\n{lines}\n{';'.join(names)}\nUNSIGNED-PAYLOAD"
    query = f"{head}{listed}{token}&X-Amz-Signature="
    signature = context.signatures(f"{ALGORITHM}\n{context.stamp}\n{context.scope}\n")
    url, sha256 = place.put_url, hashlib.sha256

    def sign(key: str, parameters: str = "") -> Secret[str]:
        after, before = (f"&{parameters}", f"{parameters}&") if parameters else ("", "")
        digest = sha256(f"{start}{key}{middle}{after}{rest}".encode()).hexdigest()
        return Secret(f"{url}{key}?{before}{query}{signature(digest.encode())}")

    return sign


def _escape(text: str) -> str:
    return quote(text, safe="-_.~")
