"""The proxy of deliveries: which targets go through it, and that it gets addresses that were checked."""

from __future__ import annotations

import base64
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import AddressGuard, DeliveryProxy, JobResult, ResultsWriter
from callback_sdk.errors import AddressNotAllowedError, ConfigurationError, DeliveryError
from callback_sdk.redaction import SecretURL
from tests.proxyserver import ProxyServer
from tests.rawserver import RawServer, answer, read_request
from tests.tlsserver import Authority
from tests.unit.test_redaction import MARKER, everything_printed, leaks

RESULT = JobResult(job_id="42", success=True, results={})
PUBLIC = "93.184.215.14"
LOGIN = base64.b64encode(f"user:{MARKER}%".encode()).decode()


@pytest.fixture
def heads() -> list[bytes]:
    """Collect the heads of requests to the receiver."""
    return []


@pytest.fixture
def receiver(heads: list[bytes]) -> Iterator[RawServer]:
    """Take every webhook."""

    def script(connection: socket.socket, number: int) -> None:
        while head := read_request(connection)[0]:
            heads.append(head)
            connection.sendall(answer("200 OK"))

    with RawServer(script) as server:
        yield server


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Resolve these names only, to these addresses."""
    known: dict[str, list[str]] = {"hook.example.org": [PUBLIC]}
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *kind: Any, **kinds: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name in known:
            return [found for address in known[name] for found in real(address, port, *kind, **kinds)]
        if set(name) <= set("0123456789.abcdef:"):
            return real(host, port, *kind, **kinds)
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return known


def through(proxy: ProxyServer, **options: Any) -> ResultsWriter:
    url = f"http://user:{MARKER}%25@127.0.0.1:{proxy.port}"
    return ResultsWriter(timeout=0, guard=AddressGuard(), proxy=DeliveryProxy(url=url, **options))


@pytest.mark.parametrize("direct", [(), ("other.example",)])
def test_plain_webhook_is_tunnelled_to_the_checked_address(
    receiver: RawServer, heads: list[bytes], names: dict[str, list[str]], direct: tuple[str, ...]
) -> None:
    """The proxy resolves nothing; the receiver sees the name, and nothing of the proxy."""
    with ProxyServer(receiver.port) as proxy, through(proxy, direct=direct) as writer:
        for _ in range(2):
            assert writer.write(RESULT, "http://hook.example.org/done")[0].status == 200
        assert proxy.connections == 1
    (head,) = proxy.heads
    assert head.startswith(f"CONNECT {PUBLIC}:80 HTTP/1.1\r\nHost: {PUBLIC}:80\r\n".encode())
    assert f"Proxy-Authorization: Basic {LOGIN}\r\n".encode() in head
    assert len(heads) == 2
    assert heads[0].startswith(b"POST /done HTTP/1.1\r\nHost: hook.example.org\r\n")
    assert b"Proxy" not in heads[0]


def test_encrypted_webhook_keeps_its_name(
    names: dict[str, list[str]], heads: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In SNI, in the certificate's check and in Host; the proxy sees the address only."""

    def script(connection: socket.socket, number: int) -> None:
        while head := read_request(connection)[0]:
            heads.append(head)
            connection.sendall(answer("200 OK"))

    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with authority.serve(script, "hook.example.org") as server, ProxyServer(server.port) as proxy:
        with through(proxy) as writer:
            assert writer.write(RESULT, "https://hook.example.org:8443/done?token=abcdef")[0].status == 200
        assert server.asked == ["hook.example.org"]
    (head,) = proxy.heads
    assert head.startswith(f"CONNECT {PUBLIC}:8443 HTTP/1.1\r\n".encode())
    assert b"hook" not in head
    assert b"Host: hook.example.org:8443\r\n" in heads[0]


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("http://10.0.0.5/done", None),
        ("http://169.254.169.254/latest/meta-data", None),
        ("https://[::ffff:10.0.0.5]/done", None),
        ("http://inner.example/done", ["10.0.0.5"]),
        ("http://inner.example/done", [PUBLIC, "192.168.0.1"]),
        ("http://inner.example/done", ["169.254.169.254"]),
    ],
)
def test_private_address_is_rejected_before_the_proxy_is_asked(
    url: str, addresses: list[str] | None, names: dict[str, list[str]]
) -> None:
    """A proxy inside the network would reach it."""
    if addresses:
        names["inner.example"] = addresses
    with ProxyServer(1) as proxy, through(proxy) as writer:
        with pytest.raises(AddressNotAllowedError):
            writer.write(RESULT, url)
        assert not proxy.heads


def test_name_that_changes_its_address_is_not_resolved_again(
    receiver: RawServer, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding has no effect: the proxy is given the address that was checked."""
    resolve, asked = socket.getaddrinfo, list[str]()

    def rebinding(host: Any, port: Any, *kind: Any, **kinds: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name == "hook.example.org":
            names[name] = [PUBLIC] if not asked else ["127.0.0.1"]
            asked.append(name)
        return resolve(host, port, *kind, **kinds)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with ProxyServer(receiver.port) as proxy, through(proxy) as writer:
        writer.write(RESULT, "http://hook.example.org/done")
    assert asked == ["hook.example.org"]
    assert proxy.heads[0].startswith(f"CONNECT {PUBLIC}:80 ".encode())


def test_next_address_is_tried(receiver: RawServer, names: dict[str, list[str]]) -> None:
    """The proxy may have no IPv6, or no route to one of them."""
    names["hook.example.org"] = ["2606:4700::1111", PUBLIC]
    asked: list[bytes] = []

    def script(connection: socket.socket, number: int) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        asked.append(head.split()[1])
        if b"[2606" in head:
            connection.sendall(answer("503 Service Unavailable"))
            return
        connection.sendall(b"HTTP/1.1 200 Go\r\n\r\n")
        read_request(connection)
        connection.sendall(answer("200 OK"))

    with RawServer(script) as proxy:
        writer = ResultsWriter(timeout=0, guard=AddressGuard(), proxy=DeliveryProxy(url=proxy.url))
        with writer:
            assert writer.write(RESULT, "http://hook.example.org/done")[0].status == 200
    assert asked == [b"[2606:4700::1111]:80", f"{PUBLIC}:80".encode()]


@pytest.mark.parametrize(
    ("status", "retryable", "words"),
    [
        ("407 Proxy Authentication Required", False, "password"),
        ("403 Forbidden", False, "must permit CONNECT"),
        ("503 Busy", True, "must permit CONNECT"),
    ],
)
def test_rejected_tunnel_names_the_proxy_without_its_password(
    status: str, retryable: bool, words: str, names: dict[str, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """The status decides about a retry."""
    caplog.set_level(logging.DEBUG)
    with ProxyServer(1, status=status) as proxy, through(proxy) as writer, pytest.raises(DeliveryError) as caught:
        writer.write(RESULT, "https://hook.example.org/done")
    assert f"through the proxy http://127.0.0.1:{proxy.port}, is unreachable: it answered {status[:3]}" in str(
        caught.value
    )
    assert caught.value.retryable is retryable
    assert words in caught.value.hint
    shown = everything_printed(caught.value) + caplog.text
    assert not leaks(shown)
    assert LOGIN not in shown


@pytest.mark.parametrize("resolves", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "proxy.invalid"])
def test_unreachable_proxy_is_named(host: str, resolves: bool, names: dict[str, list[str]]) -> None:
    """So that the operator checks the proxy, and nobody the target."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    proxy = DeliveryProxy(url=f"http://user:{MARKER}@{host}:{port}", resolves=resolves)
    writer = ResultsWriter(timeout=0, guard=AddressGuard(), proxy=proxy)
    with writer, pytest.raises(DeliveryError) as caught:
        writer.write(RESULT, "https://hook.example.org/done")
    assert f"through the proxy http://{host}:{port}, is unreachable: the proxy" in str(caught.value)
    assert caught.value.retryable
    assert not isinstance(caught.value.__cause__, socket.gaierror)
    assert not leaks(everything_printed(caught.value))


def test_environment_is_ignored(
    receiver: RawServer, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its proxies nor its NO_PROXY apply."""
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "*")
    with ProxyServer(receiver.port) as proxy, through(proxy) as writer:
        writer.write(RESULT, "http://hook.example.org/done")
        assert proxy.connections == 1


def test_proxy_may_resolve_the_names_if_it_is_told_to(receiver: RawServer, names: dict[str, list[str]]) -> None:
    """Where nothing outside can be resolved here; literal addresses are checked all the same."""
    names.clear()
    with ProxyServer(receiver.port) as proxy, through(proxy, resolves=True) as writer:
        assert writer.write(RESULT, "http://unknown.example/done")[0].status == 200
        with pytest.raises(AddressNotAllowedError):
            writer.write(RESULT, "http://10.0.0.5/done")
    (head,) = proxy.heads
    assert head.startswith(b"POST http://unknown.example/done HTTP/1.1\r\nHost: unknown.example\r\n")


def test_proxy_works_without_a_guard(receiver: RawServer, names: dict[str, list[str]]) -> None:
    """Private targets are permitted then."""
    names["hook.example.org"] = ["10.0.0.5"]
    with ProxyServer(receiver.port) as proxy, ResultsWriter(timeout=0, proxy=DeliveryProxy(url=proxy.url)) as writer:
        writer.write(RESULT, "http://hook.example.org/done")
    assert proxy.heads[0].startswith(b"CONNECT 10.0.0.5:80 ")


@pytest.mark.parametrize(
    ("direct", "url", "is_direct"),
    [
        ("example.org", "https://example.org/", True),
        ("example.org", "https://a.example.org/", True),
        ("example.org", "https://EXAMPLE.org./", True),
        ("example.org", "https://badexample.org/", False),
        (".example.org", "https://a.example.org/", True),
        ("*.example.org", "https://a.example.org/", True),
        ("*.example.org", "https://example.org/", False),
        ("example.org:8443", "https://example.org:8443/", True),
        ("example.org:8443", "https://example.org/", False),
        ("example.org:443", "https://example.org/", True),
        ("10.0.0.0/8", "http://10.1.2.3:9000/", True),
        ("10.0.0.0/8", "http://0x0a010203/", True),
        ("10.0.0.0/8", "http://11.1.2.3/", False),
        ("10.1.2.3", "http://10.1.2.3/", True),
        ("10.0.0.0/8:9000", "http://10.1.2.3/", False),
        ("[fd00::/8]:9000", "http://[fd00::5]:9000/", True),
        ("fd00::/8", "http://[fd00::5]/", True),
        ("*", "https://example.org/", True),
        ("other.org", "http://127.0.0.1:9000/", True),
        ("other.org", "http://localhost/", True),
        ("other.org", "http://[::1]/", True),
        ("3", "http://10.1.2.3/", False),
    ],
)
def test_some_places_are_reached_directly(direct: str, url: str, is_direct: bool) -> None:
    """As in NO_PROXY; loopback always is."""
    proxy = DeliveryProxy(url="http://proxy:3128", direct=[direct])
    assert (proxy.of(SecretURL(url)) is None) is is_direct


@pytest.mark.parametrize(
    "url",
    [
        *("", "proxy:3128", "https://proxy:3128", "socks5://proxy:1080", "http://", "http://[x", "http://proxy:0"),
        *(f"http://user:{MARKER}/x@proxy:3128", f"http://user:{MARKER}#@proxy:3128", "http://proxy:3128/path", None),
    ],
)
def test_anything_but_an_http_proxy_is_an_error(url: Any) -> None:
    """Without showing the password in it."""
    with pytest.raises(ConfigurationError, match="not the URL of an HTTP proxy") as caught:
        DeliveryProxy(url=url)
    assert not leaks(everything_printed(caught.value))


@pytest.mark.parametrize("direct", [["a b"], ["http://x"], ["10.0.0.0/33"], ["x:y"], [5], "example.org", [""]])
def test_invalid_place_is_an_error(direct: Any) -> None:
    """It would be reached through the proxy after all."""
    with pytest.raises(ConfigurationError):
        DeliveryProxy(url="http://proxy:3128", direct=direct)


def test_password_of_the_proxy_is_not_shown() -> None:
    """Not in its repr either."""
    assert not leaks(repr(DeliveryProxy(url=f"http://user:{MARKER}@proxy:3128")))
