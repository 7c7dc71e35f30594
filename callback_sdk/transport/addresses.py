"""Tell public IP addresses from special-purpose ones; pure.

The standard library's `is_global` isn't used: it is wrong for several of these blocks, and differs between versions of
Python (CVE-2024-4032).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from functools import cache

from attrs import define

from callback_sdk.targets.hosts import Address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@define(frozen=True)
class Block:
    """A block of special-purpose addresses.

    Attributes:
        network: The block.
        name: Its purpose.
    """

    network: Network
    name: str


_BLOCKS = {
    # IANA IPv4 Special-Purpose Address Registry (RFC 6890), complete: the globally reachable blocks in it are for
    # protocols, not for receivers of results.
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private use",
    "100.64.0.0/10": "shared address space of carriers",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link local",
    "172.16.0.0/12": "private use",
    "192.0.0.0/24": "IETF protocol assignments",
    "192.0.2.0/24": "documentation",
    "192.31.196.0/24": "AS112",
    "192.52.193.0/24": "automatic multicast tunneling",
    "192.88.99.0/24": "6to4 relays",
    "192.168.0.0/16": "private use",
    "192.175.48.0/24": "AS112",
    "198.18.0.0/15": "benchmarking",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "240.0.0.0/4": "reserved",
    # IANA IPv4 Multicast Address Space Registry.
    "224.0.0.0/4": "multicast",
    # It looks public, and is the platform's agent endpoint inside every virtual machine of Azure. Source: Microsoft's
    # page "What is IP address 168.63.129.16?".
    "168.63.129.16/32": "Azure's platform",
    # IANA IPv6 Special-Purpose Address Registry, with the blocks that RFC 4291 and RFC 3879 deprecate.
    "::/128": "unspecified",
    "::1/128": "loopback",
    "::/96": "IPv4-compatible",
    "::ffff:0:0/96": "IPv4-mapped",
    "64:ff9b::/96": "NAT64",
    "64:ff9b:1::/48": "local NAT64",
    "100::/64": "discard only",
    "100:0:0:1::/64": "dummy",
    "2001::/32": "Teredo",
    "2001:2::/48": "benchmarking",
    "2001:10::/28": "ORCHID",
    "2001:20::/28": "ORCHID version 2",
    "2001::/23": "IETF protocol assignments",
    "2001:db8::/32": "documentation",
    "2002::/16": "6to4",
    "2620:4f:8000::/48": "AS112",
    "3fff::/20": "documentation",
    "5f00::/16": "segment routing",
    "fc00::/7": "unique local",
    "fe80::/10": "link local",
    "fec0::/10": "site local",
    "ff00::/8": "multicast",
}
"""Of two overlapping blocks the narrower one is first."""

_UNICAST = ipaddress.IPv6Network("2000::/3")
"""Global unicast, from IANA's registry "Internet Protocol Version 6 Address Space": all other space is unassigned."""

_TRANSLATED = tuple(map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0/96", "64:ff9b::/96")))
"""Blocks with an IPv4 address in the last 32 bits."""

_6TO4 = ipaddress.IPv6Network("2002::/16")
_TEREDO = ipaddress.IPv6Network("2001::/32")
_ISATAP = (0x00005EFE, 0x02005EFE)

LOOPBACK = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))


@cache
def _special(version: int) -> tuple[Block, ...]:
    blocks = (Block(ipaddress.ip_network(text), name) for text, name in _BLOCKS.items())
    return tuple(block for block in blocks if block.network.version == version)


def special(address: Address) -> Block | None:
    """Return the special-purpose block of an address; None for a public address."""
    for block in _special(address.version):
        if address in block.network:
            return block
    if address.version == 6 and address not in _UNICAST:
        return Block(ipaddress.ip_network(int(address)), "not assigned")
    return None


def embedded_addresses(address: Address) -> Iterator[ipaddress.IPv4Address]:
    """Yield the IPv4 addresses that a packet to an IPv6 address may be translated or tunneled to.

    The formats are from RFC 4291 (mapped, compatible), RFC 6052 (NAT64), RFC 3056 (6to4), RFC 4380 (Teredo) and
    RFC 5214 (ISATAP).
    """
    if not isinstance(address, ipaddress.IPv6Address):
        return
    bits = int(address)
    # :: and ::1 are in ::/96 without being 0.0.0.0 and 0.0.0.1 (RFC 4291, section 2.5).
    if bits > 1 and any(address in network for network in _TRANSLATED):
        yield _ipv4(bits)
    if address in _6TO4:
        yield _ipv4(bits >> 80)
    if address in _TEREDO:
        # The server, and the client's own address, whose bits are inverted (RFC 4380, section 4).
        yield _ipv4(bits >> 64)
        yield _ipv4(~bits)
    if (bits >> 32) & 0xFFFFFFFF in _ISATAP:
        yield _ipv4(bits)


def _ipv4(bits: int) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(bits & 0xFFFFFFFF)


def parse_network(text: str) -> Network:
    """Parse a network in CIDR notation, or a single address.

    Raises:
        ValueError: The text is neither a network nor an address, or the network has host bits set.
    """
    return ipaddress.ip_network(text.strip())
