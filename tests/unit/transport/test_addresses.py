"""Which addresses are public, in every form that they can be written in."""

from __future__ import annotations

import ipaddress

import pytest

from callback_sdk.transport.addresses import embedded_addresses, parse_network, special

NOT_PUBLIC = {
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private use": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"],
    "link local": ["169.254.169.254", "169.254.170.2", "fe80::1", "febf::1"],
    "unique local": ["fd00:ec2::254", "fd20:ce::254", "fc00::1"],
    "shared address space of carriers": ["100.64.0.1", "100.100.100.200", "100.127.255.255"],
    "multicast": ["224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.255"],
    "this network": ["0.0.0.0", "0.1.2.3"],
    "unspecified": ["::"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "benchmarking": ["198.18.0.1", "198.19.255.255", "2001:2::1"],
    "IETF protocol assignments": ["192.0.0.192", "2001:1::1", "2001:1ff:ffff::1"],
    "NAT64": ["64:ff9b::8.8.8.8", "64:ff9b::127.0.0.1"],
    "local NAT64": ["64:ff9b:1::1"],
    "6to4": ["2002:7f00:1::", "2002:808:808::1"],
    "6to4 relays": ["192.88.99.1", "192.88.99.2"],
    "Teredo": ["2001::1", "2001:0:4136:e378:8000:63bf:80fe:fefe"],
    "ORCHID": ["2001:10::1", "2001:1f:ffff::1"],
    "ORCHID version 2": ["2001:20::1"],
    "IPv4-mapped": ["::ffff:127.0.0.1", "::ffff:8.8.8.8"],
    "IPv4-compatible": ["::127.0.0.1", "::8.8.8.8"],
    "discard only": ["100::1"],
    "dummy": ["100:0:0:1::1"],
    "site local": ["fec0::1", "feff::1"],
    "segment routing": ["5f00::1"],
    "not assigned": ["::ffff:0:127.0.0.1", "400::1", "4000::1", "fe00::1"],
    "AS112": ["192.31.196.1", "192.175.48.1", "2620:4f:8000::1"],
    "automatic multicast tunneling": ["192.52.193.1"],
    "Azure's platform": ["168.63.129.16"],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in NOT_PUBLIC.items() for text in texts])
def test_addresses_for_special_purposes_are_not_public(name: str, text: str) -> None:
    """Each block of IANA's registries is known by its name."""
    block = special(ipaddress.ip_address(text))
    assert block is not None
    assert block.name == name


@pytest.mark.parametrize(
    "text",
    [
        "8.8.8.8",
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2606:4700:4700::1111",
        "2a00:1450:4001:829::200e",
        "2003::1",
        "3ffe::1",
        "3fff:1000::1",
    ],
)
def test_addresses_beside_the_blocks_are_public(text: str) -> None:
    """A block ends where the registry says."""
    assert special(ipaddress.ip_address(text)) is None


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("::ffff:10.0.0.1", ["10.0.0.1"]),
        ("::10.0.0.1", ["10.0.0.1"]),
        ("64:ff9b::10.0.0.1", ["10.0.0.1"]),
        ("2002:a00:1::5", ["10.0.0.1"]),
        # The server's address, and the client's with its bits turned.
        ("2001:0:4136:e378:8000:63bf:80fe:fefe", ["65.54.227.120", "127.1.1.1"]),
        ("2a00:1450::5efe:10.0.0.1", ["10.0.0.1"]),
        ("2a00:1450::200:5efe:a00:1", ["10.0.0.1"]),
        ("2a00:1450::1", []),
        ("10.0.0.1", []),
    ],
)
def test_ipv4_in_ipv6_is_found(text: str, inside: list[str]) -> None:
    """Wherever a gateway or a tunnel would send the packet on to."""
    assert [str(address) for address in embedded_addresses(ipaddress.ip_address(text))] == inside


def test_network_with_bits_below_its_prefix_is_refused() -> None:
    """10.1.0.0/8 is a slip, and it would open more than was meant."""
    assert str(parse_network(" 10.1.0.0/16 ")) == "10.1.0.0/16"
    assert str(parse_network("10.1.2.3")) == "10.1.2.3/32"
    with pytest.raises(ValueError, match="host bits"):
        parse_network("10.1.0.0/8")
