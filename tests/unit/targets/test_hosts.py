"""The host that a URL names, in every form that it can be written in."""

from __future__ import annotations

import ipaddress

import pytest

from callback_sdk.redaction import SecretURL
from callback_sdk.targets.hosts import default_port, ip_literal, is_loopback, port_of


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "0x7F000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "2130706433",
        "127.0.0.01",
    ],
)
def test_odd_notations_of_a_number_are_read(host: str) -> None:
    """Decimal, octal, hexadecimal and short forms mean what resolvers take them for."""
    assert ip_literal(host) == ipaddress.ip_address("127.0.0.1")


@pytest.mark.parametrize(
    "host", ["example.org", "127.0.0.1.example.org", "1.2.3.4.5", "0x", "256.256.256.256", "", "-1"]
)
def test_names_are_not_addresses(host: str) -> None:
    """What is no address is left to the resolver."""
    assert ip_literal(host) is None


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("localhost", True),
        ("LocalHost.", True),
        ("app.localhost", True),
        ("ip6-localhost", True),
        ("127.9", True),
        ("::1", True),
        ("localhost.example.org", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
    ],
)
def test_the_machine_itself_is_known_by_name_and_number(host: str, is_own: bool) -> None:
    """For those no proxy is asked."""
    assert is_loopback(host) is is_own


@pytest.mark.parametrize(
    ("url", "port", "default"),
    [("http://h/", 80, 80), ("https://h/", 443, 443), ("https://h:80/", 80, 443), ("http://[::1]:9000/", 9000, 80)],
)
def test_port_is_the_urls_or_its_schemes(url: str, port: int, default: int) -> None:
    """As RFC 9110, section 4.2, has it."""
    assert (port_of(SecretURL(url)), default_port(SecretURL(url))) == (port, default)
