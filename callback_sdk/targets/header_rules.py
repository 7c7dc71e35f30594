"""Which headers a target may have; pure."""

from __future__ import annotations

import re

from callback_sdk.errors import SignedHeaderError
from callback_sdk.redaction import SecretFields, SecretURL
from callback_sdk.text.descriptions import short_repr

COMPUTED = frozenset({"host", "content-length"})
"""Headers that the transport computes."""

FORBIDDEN = frozenset(
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
"""Headers that no signed URL may have."""

LOGIN = frozenset({"authorization", "cookie"})
"""Headers with credentials, which `http` and `refresh` may have: they were given for the host of their URL."""

_FORBIDDEN_PREFIXES = ("proxy-", "x-forwarded-", "sec-")

_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def is_forbidden(name: str) -> bool:
    """Tell whether no target may have a header.

    Args:
        name: Its name in lower case.
    """
    return name in FORBIDDEN or name.startswith(_FORBIDDEN_PREFIXES)


def check_sendable(url: SecretURL, member: str, given: SecretFields, *, forbidden: frozenset[str]) -> None:
    """Reject headers that can't be sent.

    Args:
        url: URL of the target.
        member: The member of `callback_param` that has them.
        given: The headers, by their names in lower case.
        forbidden: Names that this member may not have.

    Raises:
        SignedHeaderError: One can't be sent.
    """
    for name in given.reveal():
        broken = not _NAME.fullmatch(name) or not _VALUE.fullmatch(given.reveal()[name])
        if broken or name in forbidden or name.startswith(_FORBIDDEN_PREFIXES):
            raise SignedHeaderError(
                f"{member} of {url} has {short_repr(name)}, which can't be sent as a header.",
                hint="Leave it out: it has a character that HTTP forbids, is a hop-by-hop header, has credentials, or "
                "changes the method, path, host or client address of the request.",
                url=str(url),
            )
