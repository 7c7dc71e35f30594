"""Who an upload talks to: certificates are checked, against the name in the URL."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from callback_sdk.dialing import Addresses
from callback_sdk.errors import DeliveryError
from callback_sdk.http import Sender
from callback_sdk.redaction import SecretURL
from callback_sdk.stores import port_of
from tests.rawserver import answer, read_request
from tests.tlsserver import Authority
from tests.unit.test_http import upload


def script(connection: socket.socket, number: int) -> None:
    while read_request(connection)[0]:
        connection.sendall(answer("200 OK"))


def resolve(url: SecretURL, until: float) -> Addresses:
    return socket.getaddrinfo("127.0.0.1", port_of(url), type=socket.SOCK_STREAM)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make an authority that no system knows."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Trust the authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


@pytest.fixture
def sender() -> Iterator[Sender]:
    """Send to loopback, whatever the URL's host."""
    sender = Sender(resolve=resolve)
    yield sender
    sender.close()


def test_unknown_authority_is_refused(authority: Authority, sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent, and the error says how to make it known."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    received: list[bytes] = []

    def listen(connection: socket.socket, number: int) -> None:
        received.append(connection.recv(1))

    with (
        authority.serve(listen, "127.0.0.1") as server,
        pytest.raises(DeliveryError, match="can't be verified") as caught,
    ):
        sender.send(upload(server.url))
    assert "SSL_CERT_FILE" in caught.value.hint
    assert received in ([], [b""])


def test_ssl_cert_file_names_an_authority(trusted: Authority, sender: Sender) -> None:
    """It is honoured, and connections are used again."""
    with trusted.serve(script, "127.0.0.1") as server:
        assert [sender.send(upload(server.url)).status for _ in range(3)] == [200, 200, 200]
        assert server.connections == 1
        sender.close()


def test_certificate_of_another_host_is_refused(trusted: Authority, sender: Sender) -> None:
    """Also when it is of the address that the host has."""
    with (
        trusted.serve(script, "127.0.0.1", "other.example.org") as server,
        pytest.raises(DeliveryError, match="can't be verified"),
    ):
        sender.send(upload(f"https://store.example.org:{server.port}/k"))


def test_certificate_whose_time_is_over_is_refused(trusted: Authority, sender: Sender) -> None:
    """Yesterday's is not today's."""
    over = datetime.now(timezone.utc) - timedelta(days=1)
    with (
        trusted.serve(script, "store.example.org", not_after=over) as server,
        pytest.raises(DeliveryError, match="can't be verified"),
    ):
        sender.send(upload(f"https://store.example.org:{server.port}/k"))


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("store.example.org", "store.example.org"),
        ("STORE.example.org", "store.example.org"),
        ("store.example.org.", "store.example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("bucket.s3.example.org", "bucket.s3.example.org"),
    ],
)
def test_the_name_is_the_urls_and_not_the_address(trusted: Authority, sender: Sender, host: str, name: str) -> None:
    """The server is asked for it (SNI), and its certificate must have it, though an address is connected to."""
    with trusted.serve(script, name) as server:
        assert sender.send(upload(f"https://{host}:{server.port}/k")).status == 200
        assert server.asked == [name]
        sender.close()


def test_wildcard_is_good_for_one_level(trusted: Authority, sender: Sender) -> None:
    """A bucket in the host name is below it; one with a dot in it is not."""
    with trusted.serve(script, "*.s3.example.org") as server:
        assert sender.send(upload(f"https://bucket.s3.example.org:{server.port}/k")).status == 200
        with pytest.raises(DeliveryError, match="can't be verified"):
            sender.send(upload(f"https://my.bucket.s3.example.org:{server.port}/k"))
        sender.close()
