"""Where a request comes from: the network that a client is counted by, and the proxies that may speak for one."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("::1/128"))

_LONGEST = 64
"""Characters of an address; a proxy may hand on anything."""


def network_of(address: str) -> str:
    """Return what a client is counted by: its IPv4 address, or its IPv6 /64 network, all of which one host may use."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ascii(address[:_LONGEST])[1:-1]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found), 64), strict=False))
    return str(found)


def is_in(address: str, networks: Iterable[Network]) -> bool:
    """Tell whether an address is in one of the networks; what is no address is in none."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in networks)
