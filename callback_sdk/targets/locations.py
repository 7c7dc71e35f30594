"""The URL that a redirect leads to; pure.

A header field is bytes, which `http.client` and `transport.response` decode as Latin-1. AIStore writes the path of a
key that isn't ASCII as UTF-8, unescaped, although RFC 9110, section 10.2.2, wants a URI reference, which is ASCII.
"""

from __future__ import annotations

import string
from urllib.parse import quote, unquote_to_bytes, urlsplit, urlunsplit

from callback_sdk.errors import InvalidTargetError
from callback_sdk.redaction import SecretURL, clearing_locals

_ASCII = string.punctuation
"""All of ASCII but whitespace and control characters: what is not encoded in the host and in the query."""

_IN_PATH = "!$%&'()*+,-./:=@_~"
"""What is not encoded in the path. A semicolon is: botocore cuts a path there, as `urllib.parse.urlparse` takes the
rest for the parameters of RFC 1738."""

_LINE_BREAKS = bytes.maketrans(b"\r\n", b"  ")
"""Go's net/http, on which AIStore is built, writes line breaks in a header field as spaces."""


@clearing_locals
def resolve_location(url: SecretURL, location: str) -> SecretURL:
    """Return the URL that a `Location` leads to: the bytes of the header, percent-encoded where required.

    The query is not changed, because it may be signed. Dot segments stay, because they belong to the key of an object.

    Args:
        url: The URL that was redirected.
        location: The value of the header, decoded as Latin-1.

    Raises:
        InvalidTargetError: The location is not a URL.
    """
    try:
        parts = urlsplit(quote(_bytes(location), safe=_ASCII))
    except ValueError:
        raise InvalidTargetError("The location of the redirect is not a URL.", hint="Check the endpoint.") from None
    base = urlsplit(url.reveal())
    path = quote(parts.path, safe=_IN_PATH)
    if not (parts.scheme or parts.netloc or path.startswith("/")):
        path = f"{base.path.rpartition('/')[0]}/{path}" if path else base.path
    own = unquote_to_bytes(base.path)
    if unquote_to_bytes(path) in (own, own.translate(_LINE_BREAKS)):
        # It is the same object: AIStore escapes the path if the key has other special characters.
        path = base.path
    netloc = parts.netloc or ("" if parts.scheme else base.netloc)
    return SecretURL(urlunsplit((parts.scheme or base.scheme, netloc, path, parts.query, "")))


def _bytes(location: str) -> bytes:
    try:
        return location.encode("latin-1")
    except UnicodeEncodeError:
        return location.encode(errors="surrogatepass")
