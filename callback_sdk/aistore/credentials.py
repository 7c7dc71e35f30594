"""Credentials in the headers of a request to AIStore; pure."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

from attrs import define

from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret

Headers = MutableMapping[str, Any]
"""Headers of a request of botocore; the values are text or bytes."""

_SIGNATURE = ("Authorization", "X-Amz-Security-Token")

_SECRET = (
    *_SIGNATURE,
    "Cookie",
    "Proxy-Authorization",
    "X-Amz-Server-Side-Encryption-Customer-Key",
    "X-Amz-Copy-Source-Server-Side-Encryption-Customer-Key",
)
"""Headers that no host outside the cluster may get."""

_BEARER = "Bearer "

_VALID = re.compile(r"[!-~]+")
"""Visible ASCII. A line break would end the header (RFC 9110, section 5.5)."""


@define(frozen=True)
class SentToken:
    """The token of a request, in the header that it was sent in.

    Attributes:
        header: `Authorization`, or `X-Amz-Security-Token` for a session token of AWS credentials.
        value: The header's value.
    """

    header: str
    value: Secret[str]

    @property
    def token(self) -> Secret[str]:
        """The token alone."""
        return Secret(self.value.reveal().removeprefix(_BEARER))


def sent_token(headers: Headers) -> SentToken | None:
    """Return the token that AIStore takes from a request; None without one.

    Source: `ExtractToken` in AIStore's `cmd/authn/tok/token.go`: a bearer token comes first.
    """
    for header in _SIGNATURE:
        value = Secret(_text(headers.get(header)))
        if value.reveal().startswith(_BEARER) if header == "Authorization" else value.reveal():
            return SentToken(header, value)
    return None


def valid_token(token: SentToken | None) -> SentToken | None:
    """Return a token that a header can have.

    Raises:
        ConfigurationError: It has a line break, for example. The error of http.client would quote it.
    """
    if token is None or _VALID.fullmatch(token.token.reveal()):
        return token
    raise ConfigurationError(
        f"The token in {token.header} has a character that no token has.",
        hint="Give the token without line breaks and quotation marks.",
    )


def remove_signature(headers: Headers) -> None:
    """Remove the signature and the session token of AWS credentials."""
    for name in _SIGNATURE:
        headers.pop(name, None)


def remove_credentials(headers: Headers) -> None:
    """Remove all credentials."""
    for name in _SECRET:
        headers.pop(name, None)


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
