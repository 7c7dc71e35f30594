"""The address guard: permitted and rejected addresses."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from callback_sdk import AddressGuard, JobResult, ResultsWriter
from callback_sdk.errors import AddressNotAllowedError, ConfigurationError, DeliveryError, InvalidTargetError
from callback_sdk.redaction import SecretURL
from callback_sdk.transport.http import HTTPSender
from callback_sdk.transport.sockets import Route
from tests.rawserver import RawServer, answer, read_request
from tests.unit.transport.test_http import upload

RESULT = JobResult(job_id="42", success=True, results={"a": 1})

Names = Callable[..., list[str]]
Closing = Callable[[HTTPSender], HTTPSender]


@pytest.fixture
def closing() -> Iterator[Closing]:
    """Close senders when the test ends."""
    with ExitStack() as stack:
        yield lambda sender: stack.enter_context(contextlib.closing(sender))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Let names have the addresses that a test says: one list for each time that they are asked for."""

    def use(*answers: list[str]) -> list[str]:
        left, asked = list(answers), []

        def getaddrinfo(host: bytes, port: int, **options: Any) -> list[Any]:
            asked.append(host.decode())
            found = left.pop(0) if len(left) > 1 else left[0]
            return [info for address in found for info in real(address, port, **options)]

        real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return use


def resolve(guard: AddressGuard, url: str) -> list[str]:
    return [address[4][0] for address in guard.resolve(SecretURL(url), time.monotonic() + 60)]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "127.0.0.1.",
        "127。0。0。1",
        "１２７.０.０.１",
        "0",
        "169.254.169.254",
        "0xA9FEA9FE",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::FFFF:7F00:1]",
        "[::127.0.0.1]",
        "[0:0:0:0:0:0:0:1]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[fe80::1%25lo]",
        "[fe80::1%lo]",
        "[2606:4700::1%25lo]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[2a00:1450::5efe:7f00:1]",
        "localhost",
        "LOCALHOST.",
        "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
        "anything.localhost",
        "localhost.localdomain",
    ],
)
def test_address_in_the_url_is_refused_without_the_network(host: str, names: Names) -> None:
    """However it is written; no resolver is asked."""
    asked = names(["8.8.8.8"])
    with pytest.raises(AddressNotAllowedError) as caught:
        AddressGuard().check(SecretURL(f"http://{host}/done"))
    with pytest.raises(AddressNotAllowedError):
        resolve(AddressGuard(), f"http://{host}/done")
    assert asked == []
    assert "--allow-" in caught.value.hint
    assert caught.value.url is not None


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org@127.0.0.1/",
        "http://example.org:80@127.0.0.1/",
        "http://example.org\\@127.0.0.1/",
        "http://127.0.0.1\u2100.example/",
        "http://[127.0.0.1/",
        "http:///127.0.0.1/",
        "http://127.0.0.1 .example/",
    ],
)
def test_an_ambiguous_authority_is_rejected(url: str) -> None:
    """Parsers disagree about user info before an address, backslashes, and characters that normalize to a slash."""
    with ResultsWriter(guard=AddressGuard()) as writer, pytest.raises(InvalidTargetError):
        writer.write(RESULT, url)


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.0.0.1"],
        ["8.8.8.8", "10.0.0.1"],
        ["8.8.8.8", "::1"],
        ["2606:4700:4700::1111", "64:ff9b::10.0.0.1"],
        ["::ffff:8.8.8.8"],
    ],
)
def test_one_private_address_rejects_the_name(
    addresses: list[str], names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    """A mixed answer is rejected as a whole; the address is in the log, but not in the error."""
    names(addresses)
    with caplog.at_level(logging.WARNING), pytest.raises(AddressNotAllowedError) as caught:
        resolve(AddressGuard(), "https://inside.example.org/done?secret=1")
    assert addresses[-1] not in str(caught.value)
    assert addresses[-1].removeprefix("::ffff:").removeprefix("64:ff9b::") not in str(caught.value)
    assert "--allow-host inside.example.org" in caught.value.hint
    assert "inside.example.org" in caplog.text
    assert "secret" not in caplog.text


def test_public_addresses_are_let_through(names: Names) -> None:
    """All of them, in their order."""
    names(["8.8.8.8", "2606:4700:4700::1111"])
    assert resolve(AddressGuard(), "https://example.org/") == ["8.8.8.8", "2606:4700:4700::1111"]


def test_names_are_resolved_in_their_ascii_form(names: Names) -> None:
    """The checked name is the resolved one."""
    asked = names(["8.8.8.8"])
    resolve(AddressGuard(), "https://BÜCHER.example/")
    assert asked == ["xn--bcher-kva.example"]


def test_allowed_networks_can_be_reached(names: Names) -> None:
    """Those and no others."""
    guard = AddressGuard(allow_networks=["10.20.0.0/16", "fd00::/8"])
    names(["10.20.3.4", "fd12::1", "8.8.8.8"])
    assert len(resolve(guard, "http://minio.internal/")) == 3
    guard.check(SecretURL("http://10.20.0.1/"))
    with pytest.raises(AddressNotAllowedError):
        guard.check(SecretURL("http://10.21.0.1/"))


def test_allowed_nat64_still_does_not_lead_inside() -> None:
    """In a network with IPv6 only, the prefix can be allowed; private addresses behind it stay out of reach."""
    guard = AddressGuard(allow_networks=["64:ff9b::/96"])
    guard.check(SecretURL("http://[64:ff9b::8.8.8.8]/"))
    with pytest.raises(AddressNotAllowedError, match="loopback"):
        guard.check(SecretURL("http://[64:ff9b::127.0.0.1]/"))
    both = AddressGuard(allow_networks=["64:ff9b::/96", "10.0.0.0/8"])
    both.check(SecretURL("http://[64:ff9b::10.0.0.1]/"))


def test_localhost_needs_both_of_its_addresses() -> None:
    """It may resolve to either."""
    url = SecretURL("http://localhost:9000/")
    with pytest.raises(AddressNotAllowedError, match="this machine itself"):
        AddressGuard(allow_networks=["127.0.0.0/8:9000"]).check(url)
    AddressGuard(allow_networks=["127.0.0.0/8:9000", "[::1]:9000"]).check(url)
    AddressGuard(allow_hosts=["localhost:9000"]).check(url)


@pytest.mark.parametrize(
    ("allowed", "host", "reached"),
    [
        ("minio.internal", "minio.internal", True),
        ("minio.internal", "MINIO.internal.", True),
        ("MinIO.internal.", "minio.internal", True),
        ("minio.internal", "bucket.minio.internal", False),
        ("*.minio.internal", "bucket.minio.internal", True),
        ("*.minio.internal", "a.b.minio.internal", True),
        ("*.minio.internal", "minio.internal", False),
        ("*.minio.internal", "evilminio.internal", False),
        ("bücher.internal", "xn--bcher-kva.internal", True),
        ("10.0.0.5", "10.0.0.5", True),
    ],
)
def test_allowed_hosts_can_be_reached(allowed: str, host: str, reached: bool, names: Names) -> None:
    """By their whole name; a star stands for all names below."""
    names(["10.0.0.5"])
    guard = AddressGuard(allow_hosts=[allowed])
    if reached:
        assert resolve(guard, f"http://{host}/") == ["10.0.0.5"]
    else:
        with pytest.raises(AddressNotAllowedError):
            resolve(guard, f"http://{host}/")


@pytest.mark.parametrize(
    ("allowed", "url", "reached"),
    [
        ("minio.internal", "http://minio.internal/", True),
        ("minio.internal", "https://minio.internal/", True),
        ("minio.internal", "http://minio.internal:80/", True),
        ("minio.internal", "http://minio.internal:443/", False),
        ("minio.internal", "http://minio.internal:9000/", False),
        ("minio.internal:9000", "http://minio.internal:9000/", True),
        ("minio.internal:9000", "https://minio.internal:9000/", True),
        ("minio.internal:9000", "http://minio.internal:9333/", False),
        ("minio.internal:9000", "http://minio.internal/", False),
        ("minio.internal:443", "https://minio.internal/", True),
        ("minio.internal:*", "http://minio.internal:9333/", True),
        ("*.minio.internal:9000", "http://bucket.minio.internal:9000/", True),
        ("*.minio.internal:9000", "http://bucket.minio.internal:9333/", False),
        ("10.0.0.5:9000", "http://10.0.0.5:9000/", True),
        ("10.0.0.5:9000", "http://10.0.0.5:9333/", False),
        ("[fd00::5]:9000", "http://[fd00::5]:9000/", True),
        ("[fd00::5]:9000", "http://[fd00::5]/", False),
        ("[fd00::5]", "http://[fd00::5]/", True),
    ],
)
def test_allowed_host_can_be_reached_at_its_port_only(allowed: str, url: str, reached: bool, names: Names) -> None:
    """An object store's administration at another port of the same host stays out of reach."""
    names(["10.0.0.5"])
    guard = AddressGuard(allow_hosts=[allowed])
    if reached:
        assert resolve(guard, url)
    else:
        with pytest.raises(AddressNotAllowedError):
            resolve(guard, url)


@pytest.mark.parametrize(
    ("allowed", "url", "reached"),
    [
        ("10.0.0.0/8", "http://10.0.0.5/", True),
        ("10.0.0.0/8", "https://10.0.0.5/", True),
        ("10.0.0.0/8", "http://10.0.0.5:9000/", False),
        ("10.0.0.0/8:9000", "http://10.0.0.5:9000/", True),
        ("10.0.0.0/8:9000", "http://10.0.0.5:9333/", False),
        ("10.0.0.0/8:*", "http://10.0.0.5:9333/", True),
        ("10.0.0.5:9000", "http://10.0.0.5:9000/", True),
        ("10.0.0.5:9000", "http://10.0.0.6:9000/", False),
        ("[fd00::/8]:9000", "http://[fd00::5]:9000/", True),
        ("[fd00::/8]:9000", "http://[fd00::5]/", False),
        ("fd00::/8", "http://[fd00::5]/", True),
        ("fd00::/8", "http://[fd00::5]:9000/", False),
        ("fd00::9000", "http://[fd00::9000]/", True),
    ],
)
def test_allowed_network_can_be_reached_at_its_port_only(allowed: str, url: str, reached: bool) -> None:
    """Without a port, at the default one of the URL's scheme; a star stands for every port."""
    guard = AddressGuard(allow_networks=[allowed])
    if reached:
        guard.check(SecretURL(url))
    else:
        with pytest.raises(AddressNotAllowedError):
            guard.check(SecretURL(url))


def test_name_that_leads_to_an_allowed_network_is_held_to_its_port(names: Names) -> None:
    """The port counts also after the resolver was asked."""
    names(["10.0.0.5"])
    guard = AddressGuard(allow_networks=["10.0.0.0/8:9000"])
    assert resolve(guard, "http://store.example.org:9000/") == ["10.0.0.5"]
    with pytest.raises(AddressNotAllowedError, match=r"--allow-host store\.example\.org:9333"):
        resolve(guard, "http://store.example.org:9333/")


def test_redirect_to_another_port_of_an_allowed_host_is_rejected(names: Names, closing: Closing) -> None:
    """The host can't redirect an upload to other services on it."""
    location = ""

    def near(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer("307 Go", f"Location: {location}"))

    with RawServer(near) as store, RawServer(near) as administration:
        names(["127.0.0.1"])
        location = f"http://minio.internal:{administration.port}/k"
        sender = closing(
            HTTPSender(route=Route(resolve=AddressGuard(allow_hosts=[f"minio.internal:{store.port}"]).resolve))
        )
        with pytest.raises(AddressNotAllowedError):
            sender.send(upload(f"http://minio.internal:{store.port}/k"))
        assert (store.connections, administration.connections) == (1, 0)


@pytest.mark.parametrize(
    "options",
    [
        {"allow_networks": ["10.0.0.1/8"]},
        {"allow_networks": ["intranet"]},
        {"allow_networks": "10.0.0.0/8"},
        {"allow_hosts": ["http://minio"]},
        {"allow_networks": ["10.0.0.0/8:"]},
        {"allow_networks": ["10.0.0.0/8:0"]},
        {"allow_networks": ["10.0.0.0/8:65536"]},
        {"allow_networks": ["10.0.0.0/8:9000-9010"]},
        {"allow_networks": ["10.0.0.0:9000/8"]},
        {"allow_networks": ["fd00::/8:9000"]},
        {"allow_networks": ["[fd00::/8"]},
        {"allow_networks": ["[fd00::]/8"]},
        {"allow_networks": ["[10.0.0.0/8]:9000"]},
        {"allow_hosts": ["minio:"]},
        {"allow_hosts": ["minio:http"]},
        {"allow_hosts": ["minio:9000:9001"]},
        {"allow_hosts": ["[minio]:9000"]},
        {"allow_hosts": ["fd00::5:9000"]},
        {"allow_hosts": ["*:9000"]},
        {"allow_hosts": ["*"]},
        {"allow_hosts": ["*."]},
        {"allow_hosts": [""]},
        {"allow_hosts": ["a.*.b"]},
        {"allow_hosts": "minio"},
    ],
)
def test_invalid_networks_and_hosts_are_an_error(options: dict[str, Any]) -> None:
    """A mistake in the configuration doesn't permit addresses silently."""
    with pytest.raises(ConfigurationError) as caught:
        AddressGuard(**options)
    assert caught.value.hint


def test_connection_goes_to_the_address_that_was_checked(names: Names) -> None:
    """A name that answers another address the second time is asked only once for a connection."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer("200 OK"))

    with RawServer(script) as allowed, RawServer(script) as inside:
        asked = names(["127.0.0.2"], ["127.0.0.1"])
        guard = AddressGuard(allow_networks=["127.0.0.2/32:*"])
        sender = HTTPSender(route=Route(resolve=guard.resolve))
        # The name answers with an address of the test's own that is "public", and would answer with another one.
        with pytest.raises(DeliveryError, match="refuses connections"):
            sender.send(upload(f"http://rebound.example.org:{allowed.port}/"))
        assert asked == ["rebound.example.org"]
        with pytest.raises(AddressNotAllowedError):
            sender.send(upload(f"http://rebound.example.org:{inside.port}/"))
        assert (allowed.connections, inside.connections) == (0, 0)


def test_redirect_to_an_address_that_is_not_public_is_refused(names: Names, closing: Closing) -> None:
    """Each redirect resolves and checks anew, on the same name too."""
    location = ""

    def near(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer("307 Go", f"Location: {location}"))

    with RawServer(near) as here, RawServer(near) as there:
        names(["127.0.0.1"], ["127.0.0.3"])
        guard = AddressGuard(allow_networks=["127.0.0.1:*"])
        sender = closing(HTTPSender(route=Route(resolve=guard.resolve)))
        location = f"http://store.example.org:{there.port}/k"
        with pytest.raises(AddressNotAllowedError):
            sender.send(upload(f"http://store.example.org:{here.port}/k"))
        assert (here.connections, there.connections) == (1, 0)


def test_redirect_to_an_address_in_the_url_is_refused(closing: Closing) -> None:
    """Also where redirects between the two hosts are allowed otherwise."""

    def near(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer("307 Go", "Location: http://127.0.0.2:9/k"))

    with RawServer(near) as here:
        guard = AddressGuard(allow_networks=["127.0.0.1:*"])
        sender = closing(HTTPSender(route=Route(resolve=guard.resolve), may_redirect=lambda origin, destination: True))
        with pytest.raises(AddressNotAllowedError, match=r"127\.0\.0\.2"):
            sender.send(upload(f"{here.url}/k"))


def test_writer_with_a_guard_sends_nothing_to_private_addresses() -> None:
    """The error is permanent: no retry and no connection."""
    with (
        RawServer(lambda connection, number: None) as inside,
        ResultsWriter(guard=AddressGuard()) as writer,
        pytest.raises(AddressNotAllowedError, match="not public"),
    ):
        writer.write(RESULT, f"{inside.url}/done")
    assert inside.connections == 0


def test_writer_without_a_guard_reaches_everything() -> None:
    """In a worker, the targets are trusted."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer("200 OK"))

    with RawServer(script) as inside, ResultsWriter() as writer:
        assert writer.write(RESULT, f"{inside.url}/done")[0].status == 200
