"""Allowed hosts and networks: exceptions of the SSRF protection, each with a port. Pure.

Each exception has a port, because a machine with an object store at one port often has its administration at another.
"""

from __future__ import annotations

import ipaddress

from attrs import define

from callback_sdk.errors import ConfigurationError, InvalidTargetError
from callback_sdk.redaction import SecretURL, without_credentials
from callback_sdk.targets.hosts import Address, default_port, port_of
from callback_sdk.transport.addresses import Network, parse_network

ANY_PORT = "*"

PORT_HINT = (
    "Append a port, :9000, or :* for every port. Without a port, only the scheme's port is permitted: 80 or 443."
)


@define(frozen=True)
class AllowedNetwork:
    """An allowed network, at one port or at all ports.

    Attributes:
        network: The addresses.
        port: A number, `"*"` for every port, or empty for the default port of the URL's scheme.
    """

    network: Network
    port: str = ""

    @classmethod
    def parse(cls, text: str) -> AllowedNetwork:
        """Parse `10.20.0.0/16:9000`, `[fd00::/8]:9000`, or either without a port.

        Raises:
            ValueError: The text is neither a network nor an address, or the port is invalid.
        """
        place, port = _split(text)
        return cls(parse_network(place), port)

    def __str__(self) -> str:
        return _join(str(self.network), self.port)

    def has(self, address: Address, url: SecretURL) -> bool:
        """Return whether a URL may be reached at an address."""
        return address in self.network and _is_open(self.port, url)


@define(frozen=True)
class AllowedHost:
    """An allowed host, at one port or at all ports, regardless of its addresses.

    Attributes:
        name: Its name in lower case, `*.` and a name for all hosts below that, or an IP address.
        port: A number, `"*"` for every port, or empty for the default port of the URL's scheme.
    """

    name: str
    port: str = ""

    @classmethod
    def parse(cls, text: str) -> AllowedHost:
        """Parse `minio.internal:9000`, `*.minio.internal`, or `[fd00::5]:9000`.

        Raises:
            ValueError: The text is not a host name, or the port is invalid.
        """
        place, port = _split(text)
        if ":" in place:
            if not text.strip().startswith("["):
                raise ValueError(text)
            return cls(str(ipaddress.IPv6Address(place)), port)
        wildcard, name = ("*.", place[2:]) if place.startswith("*.") else ("", place)
        if not name or set(name) & set("/*@?#[]% "):
            raise ValueError(text)
        return cls(wildcard + host_name(SecretURL(f"//{name}")), port)

    def __str__(self) -> str:
        return _join(self.name, self.port)

    def has(self, url: SecretURL) -> bool:
        """Return whether a URL may be reached."""
        host = host_name(url)
        below = self.name.startswith("*.") and host.endswith(self.name[1:])
        return (below or host == self.name) and _is_open(self.port, url)


def network(text: str) -> AllowedNetwork:
    """Parse an allowed network.

    Raises:
        ConfigurationError: The text is not a network; the hint shows the format.
    """
    try:
        return AllowedNetwork.parse(text)
    except ValueError:
        pass
    raise ConfigurationError(
        f"{without_credentials(text)!r} is not a network.",
        hint="Give it in CIDR notation, such as 10.20.0.0/16:9000 or [fd00::/8]:9000, or a single address. "
        f"{PORT_HINT}",
    )


def host(text: str) -> AllowedHost:
    """Parse an allowed host.

    Raises:
        ConfigurationError: The text is not a host; the hint shows the format.
    """
    try:
        return AllowedHost.parse(text)
    except (ValueError, InvalidTargetError):
        pass
    raise ConfigurationError(
        f"{without_credentials(text)!r} is not a host name.",
        hint="Give it without scheme, such as minio.internal:9000, or *.minio.internal:9000 for all below it. "
        f"{PORT_HINT}",
    )


def host_name(url: SecretURL) -> str:
    """Return a URL's host normalized for comparison: without the trailing dot of an absolute name."""
    return url.host.removesuffix(".")


def option_value(place: str, url: SecretURL) -> str:
    """Return the option value that allows a host or a network at a URL's port."""
    port = port_of(url)
    return _join(place, "" if port == default_port(url) else str(port))


def _split(text: str) -> tuple[str, str]:
    """Return host or network, and port."""
    text = text.strip()
    if text.startswith("["):
        place, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in place:
            raise ValueError(text)
        colon, port = rest[:1], rest[1:]
    else:
        # Two colons without brackets are an IPv6 address, whose last group could be mistaken for a port.
        place, colon, port = text.partition(":") if text.count(":") == 1 else (text, "", "")
    if (colon, port) == ("", ""):
        return place, ""
    if colon != ":" or not (port == ANY_PORT or _is_port(port)):
        raise ValueError(text)
    return place, port if port == ANY_PORT else str(int(port))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535


def _join(place: str, port: str) -> str:
    if not port:
        return place
    return f"[{place}]:{port}" if ":" in place else f"{place}:{port}"


def _is_open(port: str, url: SecretURL) -> bool:
    return port == ANY_PORT or port_of(url) == (int(port) if port else default_port(url))
