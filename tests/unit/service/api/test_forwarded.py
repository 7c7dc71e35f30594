"""Requests behind reverse proxies."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import pytest

from callback_sdk.service.api.forwarded import (
    FORWARDED,
    X_FORWARDED,
    ForwardedRequest,
    ForwardedRequests,
    read_forwarded,
    read_x_forwarded,
)
from tests.growth import assert_linear

PROXIES = tuple(map(ipaddress.ip_network, ("10.0.5.0/24", "fd00::/8")))
PROXY = "10.0.5.7"


def _headers(**values: str | list[str]) -> list[tuple[bytes, bytes]]:
    """Return headers; an underscore in a name is a hyphen, and a list has one value for each line."""
    pairs = [(name, [value] if isinstance(value, str) else value) for name, value in values.items()]
    return [(name.replace("_", "-").encode(), value.encode()) for name, lines in pairs for value in lines]


def _x(**values: str | list[str]) -> ForwardedRequest:
    return read_x_forwarded(_headers(**{f"x_forwarded_{name}": value for name, value in values.items()}), PROXIES)


def _sent(
    path: str = "/ui/tasks", peer: str | None = PROXY, root_path: str = "", kind: str = X_FORWARDED, **headers: str
) -> dict[str, Any]:
    """Return the scope that the application sees."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    scope = {
        "type": "http",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "client": None if peer is None else (peer, 1234),
        "headers": [(b"host", b"127.0.0.1:8000"), *_headers(**headers)],
    }
    before = {**scope, "headers": list(scope["headers"])}  # type: ignore[call-overload]
    middleware = ForwardedRequests(app, trusted=PROXIES, root_path=root_path, headers=kind)
    asyncio.run(middleware(scope, None, None))  # type: ignore[arg-type]
    assert scope == before
    found: dict[str, Any] = seen[0]
    return found


ALL = {
    "x_forwarded_for": "203.0.113.9",
    "x_forwarded_proto": "https",
    "x_forwarded_host": "tools.example.org",
    "x_forwarded_prefix": "/jobs",
}


def test_a_trusted_proxy_describes_the_request() -> None:
    """The application sees the client's address, the scheme and the host of its URL, and the path prefix."""
    scope = _sent(**ALL)
    assert scope["client"] == ("203.0.113.9", 0)
    assert scope["scheme"] == "https"
    assert [value for name, value in scope["headers"] if name == b"host"] == [b"tools.example.org"]
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/jobs", "/jobs/ui/tasks", b"/jobs/ui/tasks")


@pytest.mark.parametrize("peer", ["203.0.113.1", "10.0.6.7", "::1", None, "not an address"])
@pytest.mark.parametrize("kind", [X_FORWARDED, FORWARDED])
def test_headers_of_any_other_peer_are_ignored(peer: str | None, kind: str) -> None:
    """Anyone can send them."""
    scope = _sent(peer=peer, kind=kind, forwarded="for=203.0.113.9;proto=https;host=evil.example", **ALL)
    assert scope["client"] == (None if peer is None else (peer, 1234))
    assert (scope["scheme"], scope["path"], scope["root_path"]) == ("http", "/ui/tasks", "")
    assert dict(scope["headers"])[b"host"] == b"127.0.0.1:8000"


def test_only_the_configured_kind_of_headers_counts() -> None:
    """A proxy passes the client's headers of the other kind on."""
    spoofed = "for=198.51.100.1;proto=http;host=evil.example"
    scope = _sent(forwarded=spoofed, **ALL)
    assert scope["client"][0] == "203.0.113.9"
    headers = {**ALL, "x_forwarded_for": "198.51.100.1", "forwarded": "for=203.0.113.9;proto=https"}
    scope = _sent(kind=FORWARDED, **headers)
    assert (scope["client"][0], scope["scheme"], scope["root_path"]) == ("203.0.113.9", "https", "")


@pytest.mark.parametrize(
    ("given", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        # The client may have sent the first ones.
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.5.1, 203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9, 10.0.5.8", "203.0.113.9"),
        ("10.0.5.9, 10.0.5.8", "10.0.5.9"),
        (["198.51.100.1", "203.0.113.9, 10.0.5.8"], "203.0.113.9"),
        ("203.0.113.9:51234", "203.0.113.9"),
        ("[2001:db8::7]:51234", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("203.0.113.9, fd00::1", "203.0.113.9"),
        ("203.0.113.9, [fd00::1]:8080", "203.0.113.9"),
        ("203.0.113.9, ::ffff:10.0.5.8", "203.0.113.9"),
        ("198.51.100.1, unknown", "unknown"),
        (",, ,203.0.113.9,,", "203.0.113.9"),
        ("", None),
    ],
)
def test_the_client_is_the_last_address_that_is_not_a_proxys(given: str, client: str | None) -> None:
    """Whoever is not trusted can have invented what precedes its own address."""
    assert _x(**{"for": given}).client == client


@pytest.mark.parametrize(
    ("addresses", "schemes", "scheme"),
    [
        ("203.0.113.9", "https", "https"),
        # A proxy that appends, after a client that has sent one.
        ("203.0.113.9", "https, http", "http"),
        # Two proxies: TLS ends at the first.
        ("203.0.113.9, 10.0.5.8", "https, http", "https"),
        ("203.0.113.9, 10.0.5.8", "http, https, http", "https"),
        ("203.0.113.9, 10.0.5.8", "https", "https"),
        ("", "https", "https"),
        ("203.0.113.9", "HTTPS", "https"),
        ("203.0.113.9", "javascript", None),
        ("203.0.113.9", "", None),
    ],
)
def test_the_scheme_is_that_of_the_clients_connection(addresses: str, schemes: str, scheme: str | None) -> None:
    """A proxy replaces the header or appends to it."""
    assert _x(**{"for": addresses}, proto=schemes).scheme == scheme


@pytest.mark.parametrize("host", ["tools.example.org", "tools.example.org:8443", "[2001:db8::1]:8443", "127.0.0.1:80"])
def test_the_host_is_an_authority(host: str) -> None:
    """It has a port where the URL has one."""
    assert _x(host=host).host == host


@pytest.mark.parametrize("host", ["a b", "user@host", "host/path", "host:123456", "[::1", "é", "a\tb", 300 * "a", "a:"])
def test_an_invalid_host_is_ignored(host: str) -> None:
    """It would be a part of URLs and of comparisons."""
    assert read_x_forwarded([(b"x-forwarded-host", host.encode("latin-1"))], PROXIES).host is None


@pytest.mark.parametrize("prefix", ["//evil.example", "/jobs//x", "jobs", "/ui", "/..", "/a?b", '/"><script>', "/a%2f"])
def test_an_invalid_prefix_is_ignored(prefix: str) -> None:
    """It begins every link and every redirect."""
    assert _x(prefix=prefix).prefix is None


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/ui/tasks", "/jobs/ui/tasks"),
        ("/jobs/ui/tasks", "/jobs/ui/tasks"),
        ("/", "/jobs/"),
        ("/jobs", "/jobs/"),
        ("/jobs/", "/jobs/"),
        ("/jobsite", "/jobs/jobsite"),
    ],
)
def test_the_proxy_may_strip_the_prefix_or_not(path: str, seen: str) -> None:
    """Both are usual: nginx strips it if proxy_pass has a path."""
    scope = _sent(path, root_path="/jobs")
    assert (scope["root_path"], scope["path"]) == ("/jobs", seen)


def test_the_configured_prefix_takes_precedence() -> None:
    """A proxy that doesn't set the header passes that of the client on."""
    assert _sent(root_path="/jobs", x_forwarded_prefix="/other")["root_path"] == "/jobs"
    assert _sent(peer="203.0.113.1", root_path="/jobs")["root_path"] == "/jobs"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("for=203.0.113.9;proto=https;host=tools.example.org", ("203.0.113.9", "https", "tools.example.org")),
        ('For="[2001:db8::7]:4711"; Proto=HTTPS ; host="a.example:8443"', ("2001:db8::7", "https", "a.example:8443")),
        ("for=198.51.100.1;proto=http, for=203.0.113.9;proto=https", ("203.0.113.9", "https", None)),
        ("for=203.0.113.9;proto=https, for=10.0.5.8;proto=http;host=inner", ("203.0.113.9", "https", None)),
        ('for="203.0.113.9:1,2";by="a;b,c"', ("203.0.113.9", None, None)),
        (r'for="203.0.113\.9";host="a\"b"', ("203.0.113.9", None, None)),
        # A malformed element is that of nobody known.
        ("for=10.0.5.8, for=203.0.113.9;;;", ("unknown", None, None)),
        ("for=_hidden", ("_hidden", None, None)),
        ('for="203.0.113.9', ("unknown", None, None)),
        ("", (None, None, None)),
    ],
)
def test_forwarded_has_an_element_for_each_proxy(given: str, expected: tuple[str | None, ...]) -> None:
    """The one that counts is that of the proxy which the client is connected to."""
    found = read_forwarded(_headers(forwarded=given), PROXIES)
    assert (found.client, found.scheme, found.host) == expected


@pytest.mark.parametrize("read", [read_x_forwarded, read_forwarded])
@pytest.mark.parametrize("part", [b"10.0.5.8,", b'for="', b'for="a\\",', b"for=10.0.5.8;", b",", b'"'])
def test_long_headers_take_linear_time(read: Any, part: bytes) -> None:
    """A proxy may pass a long header on."""
    small, large = ([(name, part * size) for name in (b"forwarded", b"x-forwarded-for")] for size in (250, 8_000))
    assert_linear(lambda headers: read(headers, PROXIES), small, large, ratio=32)
