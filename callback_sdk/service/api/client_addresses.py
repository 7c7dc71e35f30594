"""Client addresses: the key of a client's rate limits, and networks of trusted proxies."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("::1/128"))

_MAX_LENGTH = 64
"""Maximum characters of an address; a proxy may forward any text."""


def network_of(address: str) -> str:
    """Return the key of a client's rate limits: its IPv4 address, or its IPv6 /64 network, which one host may own."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ascii(address[:_MAX_LENGTH])[1:-1]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found), 64), strict=False))
    return str(found)


def is_in(address: str, networks: Iterable[Network]) -> bool:
    """Return whether an address is in one of the networks; False for an invalid address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in network for network in networks)
