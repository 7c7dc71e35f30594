"""Proxies of the environment: their selection, and uploads through them without leaks."""

from __future__ import annotations

import base64
import logging
import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from callback_sdk import AddressGuard, Client, JobResult, ResultsWriter
from callback_sdk.errors import CallbackSDKError, DeliveryError, ServiceError
from callback_sdk.redaction import SecretURL
from callback_sdk.transport.connect import resolve
from callback_sdk.transport.http import HTTPSender
from callback_sdk.transport.proxies import check_proxy, environment_proxy
from callback_sdk.transport.sockets import Route
from tests.proxyserver import ProxyServer
from tests.rawserver import RawServer, answer, read_request
from tests.tlsserver import Authority
from tests.unit.test_redaction import MARKER, everything_printed, leaks
from tests.unit.transport.senders import QUICK, upload

PROXY = "http://proxy.example:3128"
LOGIN = base64.b64encode(f"user:{MARKER}%".encode()).decode()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with an environment that names none."""
    for name in [*os.environ]:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def sender() -> Iterator[HTTPSender]:
    """Send as a writer without a guard does."""
    sender = HTTPSender(route=Route(resolve=resolve, proxy=environment_proxy))
    yield sender
    sender.close()


@pytest.fixture
def store() -> Iterator[RawServer]:
    """Take every upload."""

    def script(connection: socket.socket, number: int) -> None:
        while read_request(connection)[0]:
            connection.sendall(answer("200 OK"))

    with RawServer(script) as server:
        yield server


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "https://example.org/", None),
        ({"HTTP_PROXY": PROXY}, "http://example.org/", PROXY),
        ({"HTTP_PROXY": PROXY}, "https://example.org/", None),
        ({"HTTPS_PROXY": PROXY}, "https://example.org/", PROXY),
        ({"https_proxy": PROXY}, "https://example.org/", PROXY),
        ({"ALL_PROXY": PROXY}, "https://example.org/", PROXY),
        ({"ALL_PROXY": PROXY, "HTTPS_PROXY": "http://other:1"}, "https://example.org/", "http://other:1"),
        ({"HTTPS_PROXY": "proxy.example:3128"}, "https://example.org/", PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "example.org"}, "https://example.org/", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "example.org"}, "https://bucket.example.org/", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "example.org"}, "https://other.org/", PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "example.org:8443"}, "https://example.org:8443/", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "example.org:8443"}, "https://example.org/", PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, "https://10.1.2.3/", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, "https://example.org/", None),
        ({"HTTPS_PROXY": PROXY}, "https://[2606:4700::1]/", PROXY),
        ({"ALL_PROXY": PROXY}, "http://127.0.0.1:9000/", None),
        ({"ALL_PROXY": PROXY}, "http://127.1/", None),
        ({"ALL_PROXY": PROXY}, "http://localhost/", None),
        ({"ALL_PROXY": PROXY}, "http://[::1]/", None),
        ({"HTTPS_PROXY": ""}, "https://example.org/", None),
    ],
)
def test_proxy_variables_have_the_usual_precedence(
    environment: dict[str, str], url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By scheme, otherwise for all; NO_PROXY has names, subdomains, ports and networks; never for loopback."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = environment_proxy(SecretURL(url))
    assert (found and found.reveal()) == proxy


@pytest.mark.parametrize(
    "proxy", [f"socks5://user:{MARKER}@proxy:1080", f"https://user:{MARKER}@proxy:1", "http://", "http://[x"]
)
def test_proxy_that_uploads_cannot_use_is_an_error(
    proxy: str, sender: HTTPSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never passed by in silence, and its password doesn't show."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(DeliveryError, match="environment's proxy for") as caught:
        sender.send(upload("https://example.org/"))
    assert not caught.value.retryable
    assert not leaks(everything_printed(caught.value))


@pytest.mark.parametrize("separator", ["/", "?", "#", "\\", "@x#", "@x/", "@x?"])
def test_an_unencoded_password_is_not_parsed_as_a_host(
    separator: str, sender: HTTPSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of it would be resolved and shown; it is rejected with a hint."""
    monkeypatch.setenv("ALL_PROXY", f"http://user:{MARKER}{separator}{MARKER}@proxy.test:3128")
    url = SecretURL("https://example.org/")
    for use in (lambda: sender.send(upload(url.reveal())), lambda: check_proxy(url)):
        with pytest.raises(CallbackSDKError, match=r"is not a URL.*such as %23 for #") as caught:
            use()
        assert not leaks(everything_printed(caught.value))


@pytest.mark.parametrize("password", ["!@me", "p(%)x", "100%", "a%23b%2Fc"])
def test_a_password_with_other_characters_is_used(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that can't be mistaken for the end of the authority."""
    monkeypatch.setenv("ALL_PROXY", f"http://user:{password}@proxy.test:3128")
    found = environment_proxy(SecretURL("https://example.org/"))
    assert found is not None
    assert (found.host, found.port) == ("proxy.test", 3128)
    check_proxy(SecretURL("https://example.org/"))


def test_plain_upload_is_forwarded(store: RawServer, sender: HTTPSender, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request line has the whole URL, the proxy its login, and the connection is used again."""
    with ProxyServer(store.port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:{MARKER}%25@127.0.0.1:{proxy.port}")
        for _ in range(2):
            assert sender.send(upload("http://store.example.org/k?a=b")).status == 200
        sender.close()
        assert proxy.connections == 1
    (head,) = proxy.heads
    assert head.startswith(b"PUT http://store.example.org/k?a=b HTTP/1.1\r\nHost: store.example.org\r\n")
    assert f"Proxy-Authorization: Basic {LOGIN}\r\n".encode() in head


def test_encrypted_upload_is_tunnelled(
    sender: HTTPSender, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The proxy sees the host's name and its own login; the store sees neither the proxy nor the login."""
    heads: list[bytes] = []

    def script(connection: socket.socket, number: int) -> None:
        while head := read_request(connection)[0]:
            heads.append(head)
            connection.sendall(answer("200 OK"))

    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    caplog.set_level(logging.DEBUG)
    with authority.serve(script, "store.example.org") as server, ProxyServer(server.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{MARKER}%25@127.0.0.1:{proxy.port}")
        for _ in range(2):
            assert sender.send(upload("https://store.example.org/k?secret=1")).status == 200
        sender.close()
        assert server.asked == ["store.example.org"]
        assert proxy.connections == 1
    (head,) = proxy.heads
    assert head.startswith(b"CONNECT store.example.org:443 HTTP/1.1\r\nHost: store.example.org:443\r\n")
    assert f"Proxy-Authorization: Basic {LOGIN}\r\n".encode() in head
    assert b"secret" not in head
    assert len(heads) == 2
    assert not any(b"Proxy" in head for head in heads)
    assert not leaks(caplog.text)


@pytest.mark.parametrize(
    ("status", "retryable", "word"),
    [
        ("407 Proxy Authentication Required", False, "password"),
        ("403 Forbidden", False, "log"),
        ("503 Busy", True, "log"),
    ],
)
def test_proxy_that_rejects_a_tunnel_is_reported(
    status: str, retryable: bool, word: str, sender: HTTPSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status decides about a retry, and the proxy's credentials are not shown."""
    with ProxyServer(1, status=status) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{MARKER}%25@127.0.0.1:{proxy.port}")
        with pytest.raises(DeliveryError, match=f"through the proxy .* answered {status[:3]}") as caught:
            sender.send(upload("https://store.example.org/k?secret=1"))
    assert caught.value.retryable is retryable
    assert word in caught.value.hint
    shown = everything_printed(caught.value)
    assert not leaks(shown)
    assert LOGIN not in shown


def test_unreachable_proxy_is_named(sender: HTTPSender, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that users check the proxy, not the store."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{MARKER}@{place}")
    with pytest.raises(
        DeliveryError, match=f"through the proxy http://{place}, is unreachable: the proxy refuses connections"
    ) as caught:
        sender.send(upload("https://store.example.org/k"))
    assert not leaks(everything_printed(caught.value))


def test_proxy_that_never_ends_its_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A header now and then doesn't hold an upload beyond the time for connecting."""

    def script(connection: socket.socket, number: int) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 Go\r\n")
        while not proxy._closing.wait(0.1):
            connection.sendall(b"X-Slow: x\r\n")

    sender = HTTPSender(timeouts=QUICK, route=Route(resolve=resolve, proxy=environment_proxy))
    with RawServer(script) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(DeliveryError, match="in time"):
            sender.send(upload("https://store.example.org/k"))


def test_writer_uses_the_environments_proxy(store: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a guard doesn't forbid it."""
    result = JobResult(job_id="42", success=True, results={})
    with ProxyServer(store.port) as proxy, ResultsWriter() as writer:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert writer.write(result, "http://hook.example.org/done")[0].status == 200
        assert proxy.connections == 1


def test_writer_with_a_guard_ignores_the_proxy(store: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would resolve the name itself, and could reach private addresses."""
    result = JobResult(job_id="42", success=True, results={})
    guard = AddressGuard(allow_networks=["127.0.0.0/8:*"])
    with ProxyServer(store.port) as proxy, ResultsWriter(guard=guard) as writer:
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        assert writer.write(result, store.url)[0].status == 200
        real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **kind: real("127.0.0.1", port, **kind))
        assert writer.write(result, f"http://hook.example.org:{store.port}/done")[0].status == 200
        assert proxy.connections == 0


@pytest.mark.parametrize(
    ("excluded", "host", "direct"),
    [
        ("fd00::/8", "fd00::5", True),
        ("x, fd00::/8 ,y", "fd00::5", True),
        ("fd00::5/8", "fdff::1", True),
        ("fd00::/8", "2001:db8::5", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "fd00::5", False),
        ("fd00::/x, /, ::/", "fd00::5", False),
        ("fd00::/8", "fd00.example", False),
        ("", "fd00::5", False),
    ],
)
def test_networks_of_no_proxy_hold_for_both_families(
    excluded: str, host: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requests knows networks of IPv4 only, and would show a token or a signature to the proxy."""
    monkeypatch.setenv("http_proxy", PROXY)
    monkeypatch.setenv("no_proxy", excluded)
    url = SecretURL(f"http://[{host}]:8000/" if ":" in host else f"http://{host}:8000/")
    assert (environment_proxy(url) is None) is direct


def test_the_client_uses_no_proxy_for_an_excluded_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's token goes to a service in such a network directly."""
    heads: list[bytes] = []

    def script(connection: socket.socket, number: int) -> None:
        heads.append(read_request(connection)[0])
        connection.sendall(answer("502 Bad Gateway"))

    with RawServer(script) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "fd00::/8")
        # The excluded one may be an address that never answers; the proxy does.
        for address, count, connect in [
            ("fd00::5", 0, timedelta(seconds=0.2)),
            ("2001:db8::5", 1, timedelta(minutes=1)),
        ]:
            with (
                Client(f"http://[{address}]:8000", token="token", retries=0, connect_timeout=connect) as client,
                pytest.raises(ServiceError),
            ):
                client.get_algorithms()
            assert len(heads) == count
