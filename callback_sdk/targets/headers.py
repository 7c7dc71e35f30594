"""Headers that came with a target, and whether they can be sent."""

from __future__ import annotations

import re

from callback_sdk.errors import SignedHeaderError, shown
from callback_sdk.redaction import SecretFields, SecretURL
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.members import HEADERS, HTTP

COMPUTED = frozenset({"host", "content-length"})
"""Headers that the transport computes."""

_FORBIDDEN = frozenset(
    {
        # Hop-by-hop: RFC 9110, section 7.6.1, and RFC 2616, section 13.5.1.
        *("connection", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "via"),
        # The body isn't sent in chunks ("Signature Calculations: Transferring Payload in Multiple Chunks", Amazon S3).
        *("x-amz-trailer", "x-amz-decoded-content-length"),
        # Credentials: a target must not make this package send those of another party.
        *("authorization", "cookie", "cookie2", "set-cookie"),
        # Frameworks and proxies replace method, path, host or client address by these.
        *("x-http-method", "x-http-method-override", "x-method-override", "x-original-method"),
        *("x-original-url", "x-original-uri", "x-rewrite-url", "x-original-host", "x-host"),
        *("forwarded", "x-real-ip", "true-client-ip", "cf-connecting-ip", "x-client-ip"),
    }
)
_LOGIN = frozenset({"authorization", "cookie"})
"""Headers with credentials, which `http` may have: they were given for the host of their URL."""

_FORBIDDEN_PREFIXES = ("proxy-", "x-forwarded-", "sec-")

_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def is_forbidden(name: str) -> bool:
    """Tell whether no target may have a header.

    Args:
        name: Its name in lower case.
    """
    return name in _FORBIDDEN or name.startswith(_FORBIDDEN_PREFIXES)


def given_headers(callback: Callback) -> SecretFields:
    """Return the headers given with a signed URL, all of which can be sent.

    Raises:
        SignedHeaderError: One can't be sent.
    """
    values = callback.headers or SecretFields({})
    given = SecretFields({name: value for name, value in values.reveal().items() if name not in COMPUTED})
    _check_sendable(callback.url, HEADERS, given, forbidden=_FORBIDDEN)
    return given


def http_headers(callback: Callback) -> SecretFields:
    """Return the headers of `http`, with credentials for the server of the URL.

    Raises:
        SignedHeaderError: One can't be sent.
    """
    headers = callback.http or SecretFields({})
    _check_sendable(callback.url, HTTP, headers, forbidden=(_FORBIDDEN | COMPUTED) - _LOGIN)
    return headers


def _check_sendable(url: SecretURL, member: str, given: SecretFields, *, forbidden: frozenset[str]) -> None:
    for name in given.reveal():
        broken = not _NAME.fullmatch(name) or not _VALUE.fullmatch(given.reveal()[name])
        if broken or name in forbidden or name.startswith(_FORBIDDEN_PREFIXES):
            raise SignedHeaderError(
                f"{member} of {url} has {shown(name)}, which can't be sent as a header.",
                hint="Leave it out: it has a character that HTTP forbids, is a hop-by-hop header, has credentials, or "
                "changes the method, path, host or client address of the request.",
                url=str(url),
            )
