"""Locations of the fake AIStore's redirects; pure.

Source: `redirectURL` in AIStore's `ais/proxy.go`. A path without `?`, `#`, `%` and spaces is written as it was decoded:
UTF-8 bytes, unescaped. Otherwise Go's `URL.String` escapes it, except for `;` and `,`, among others.
"""

from __future__ import annotations

from urllib.parse import quote

_SPECIAL = frozenset("?#% ")
_NOT_ESCAPED = "$&+,/:;=@"
"""What Go's `URL.EscapedPath` leaves, besides unreserved characters."""


def location(origin: str, path: bytes, query: str) -> str:
    """Return the value of a `Location` header as the Latin-1 text of its bytes.

    Args:
        origin: Scheme, host and port of the node; empty for a location without them.
        path: The decoded path.
        query: The encoded query.
    """
    text = path.decode("latin-1")
    written = quote(path, safe=_NOT_ESCAPED) if _SPECIAL & set(text) else text
    # Go's net/http replaces line breaks in the values of headers by spaces.
    return f"{origin}{written}?{query}".translate({10: " ", 13: " "})
