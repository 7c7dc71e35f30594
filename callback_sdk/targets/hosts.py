"""Host and port that a URL names, in every form that resolvers accept; pure."""

from __future__ import annotations

import ipaddress
import re
import socket
from functools import lru_cache

from callback_sdk.errors import InvalidTargetError
from callback_sdk.redaction import SecretURL

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?")
"""Names of RFC 1123, section 2.1, and those with underscores, which containers have."""

_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback"})
"""Names of the machine itself: RFC 6761, section 6.3, and the files /etc/hosts of Debian and Red Hat."""


def port_of(url: SecretURL) -> int:
    """Return the port of a URL, or its scheme's default port."""
    return url.port or default_port(url)


def default_port(url: SecretURL) -> int:
    """Return the default port of a URL's scheme (RFC 9110, section 4.2)."""
    return 443 if url.scheme == "https" else 80


def check_url(url: SecretURL) -> None:
    """Reject a URL that no request can be sent to.

    Raises:
        InvalidTargetError: It is not a complete http or https URL.
    """
    if url.scheme == "results":
        raise InvalidTargetError(
            "results: is an object in the bucket of a service.",
            hint="Give it as a callback of a task, to a service that was started with --results-bucket.",
        )
    if not url.host and (url.scheme in ("", "http", "https") or "://" not in url.reveal()):
        # A user or a password may stand in place of the scheme and of the path: neither is quoted.
        what = "host" if url.scheme in ("http", "https") else "scheme"
        raise InvalidTargetError(
            f"The callback URL has no {what}." if url.reveal() else "The callback URL is empty.",
            hint="Give the complete URL, such as https://example.org/results.",
        )
    if url.scheme not in ("http", "https"):
        raise InvalidTargetError(
            f"The callback URL {url} has the scheme {url.scheme}; only http and https are supported.",
            hint="Presign the object instead: S3Signer(bucket).presign_put(key)."
            if url.scheme == "s3"
            else "Give the complete URL.",
            url=str(url),
        )
    if url.port == 0 or url.has_userinfo or url.has_forbidden_characters:
        what = "a user or a password in it" if url.has_userinfo else "a character or a port that no URL has"
        raise InvalidTargetError(f"The callback URL {url} has {what}.", hint="Copy the complete URL.", url=str(url))
    check_host(url)


def check_host(url: SecretURL) -> None:
    """Reject a host that no resolver takes.

    Raises:
        InvalidTargetError: It is not a valid host name.
    """
    # Asked in this order because most hosts are names.
    if not _NAME.fullmatch(url.host) and ip_literal(url.host) is None:
        raise InvalidTargetError(f"{url} has an invalid host name.", hint="Check its spelling.", url=str(url))


# Planning a target and connecting ask several times about its host, and a worker sends to few.
@lru_cache(maxsize=256)
def ip_literal(host: str) -> Address | None:
    """Return the IP address that a host is, or None for a name.

    Args:
        host: In ASCII. Forms that `inet_aton` accepts, and with it `getaddrinfo`, count too: fewer than four parts,
            octal and hexadecimal ones. 127.1, 0177.0.0.1 and 0x7f000001 all are 127.0.0.1.
    """
    # The trailing dot of an absolute name, and the zone of a link-local address (RFC 4007, section 11).
    host = host.removesuffix(".").partition("%")[0]
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def is_local_name(host: str) -> bool:
    """Tell whether a name is one of the machine itself."""
    name = host.lower().removesuffix(".")
    return name in _LOCAL_NAMES or name.endswith(".localhost")


def is_loopback(host: str) -> bool:
    """Tell whether a host is the machine itself, by name or by address."""
    address = ip_literal(host)
    return is_local_name(host) if address is None else address.is_loopback


def origin(url: SecretURL) -> str:
    """Return scheme, host and port of a URL, the same for all its spellings (RFC 6454, section 6.2).

    Of a URL without a host, which is of a service's own bucket, it is the scheme with a colon.
    """
    if not url.host:
        return f"{url.scheme}:"
    name = usual_name(url.host)
    host = f"[{name}]" if ":" in name else name
    return f"{url.scheme}://{host}" + ("" if port_of(url) == default_port(url) else f":{url.port}")


def usual_name(host: str) -> str:
    """Return the same text for all spellings of a host: a name without its last dot, an address in its usual form."""
    address = ip_literal(host)
    return host.removesuffix(".") if address is None else str(address)
