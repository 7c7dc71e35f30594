"""TLS: certificates are verified against the name in the URL."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import JobResult, ResultsWriter
from callback_sdk.errors import ConfigurationError, DeliveryError, InvalidTargetError
from callback_sdk.redaction import SecretURL
from callback_sdk.targets.hosts import port_of
from callback_sdk.transport.connect import Addresses
from callback_sdk.transport.http import HTTPSender
from callback_sdk.transport.retry import next_delay
from callback_sdk.transport.sockets import Route
from tests.rawserver import answer, read_request
from tests.tlsserver import Authority, TLSServer
from tests.unit.transport.test_http import upload


def script(connection: socket.socket, number: int) -> None:
    while read_request(connection)[0]:
        connection.sendall(answer("200 OK"))


def assert_lasting(error: DeliveryError) -> None:
    assert (error.retryable, error.transient) == (True, False)


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
def sender() -> Iterator[HTTPSender]:
    """Return a sender to loopback, regardless of the URL's host."""
    sender = HTTPSender(route=Route(resolve=resolve))
    yield sender
    sender.close()


def test_unknown_authority_is_refused(
    authority: Authority, sender: HTTPSender, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert_lasting(caught.value)
    assert received in ([], [b""])


def test_ssl_cert_file_names_an_authority(trusted: Authority, sender: HTTPSender) -> None:
    """It is honoured, and connections are used again."""
    with trusted.serve(script, "127.0.0.1") as server:
        assert [sender.send(upload(server.url)).status for _ in range(3)] == [200, 200, 200]
        assert server.connections == 1
        sender.close()


def test_certificate_of_another_host_is_refused(trusted: Authority, sender: HTTPSender) -> None:
    """Also when it is of the address that the host has."""
    with (
        trusted.serve(script, "127.0.0.1", "other.example.org") as server,
        pytest.raises(DeliveryError, match="can't be verified for this name") as caught,
    ):
        sender.send(upload(f"https://store.example.org:{server.port}/k"))
    assert "SSL_CERT_FILE" not in caught.value.hint
    assert_lasting(caught.value)


def test_expired_certificate_is_rejected(trusted: Authority, sender: HTTPSender) -> None:
    """A certificate that expired yesterday isn't accepted."""
    over = datetime.now(timezone.utc) - timedelta(days=1)
    with (
        trusted.serve(script, "store.example.org", not_after=over) as server,
        pytest.raises(DeliveryError, match="has expired") as caught,
    ):
        sender.send(upload(f"https://store.example.org:{server.port}/k"))
    assert "SSL_CERT_FILE" not in caught.value.hint
    assert_lasting(caught.value)


def test_certificate_that_is_not_valid_yet_is_refused(trusted: Authority, sender: HTTPSender) -> None:
    """A clock is wrong, and the error says so."""
    begins = datetime.now(timezone.utc) + timedelta(days=1)
    with (
        trusted.serve(script, "127.0.0.1", not_before=begins, not_after=begins + timedelta(days=1)) as server,
        pytest.raises(DeliveryError, match=r"not valid yet.*clock"),
    ):
        sender.send(upload(server.url))


def test_authority_that_is_added_later_counts_at_the_next_attempt(
    authority: Authority, sender: HTTPSender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator repairs the file while a service retries its deliveries; no restart is needed."""
    file = tmp_path / "authorities.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with authority.serve(script, "127.0.0.1") as server:
        with pytest.raises(DeliveryError, match=r"SSL_CERT_FILE names .* can't be read"):
            sender.send(upload(server.url))
        file.write_bytes(authority.file.read_bytes())
        assert sender.send(upload(server.url)).status == 200
        sender.close()


def test_write_does_not_retry_certificate_errors(trusted: Authority) -> None:
    """One write makes one attempt, but a later attempt may succeed, so the outbox and the service retry."""
    over = datetime.now(timezone.utc) - timedelta(days=1)
    with trusted.serve(script, "127.0.0.1", not_after=over) as server, ResultsWriter() as writer:
        with pytest.raises(DeliveryError) as caught:
            writer.write(JobResult(job_id="1", success=True), server.url)
        assert server.connections == 1
    assert (caught.value.attempts, caught.value.retryable) == (1, True)
    assert next_delay(caught.value, 1) is not None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_certificate_is_sent_on_request(trusted: Authority, tmp_path: Path, version: ssl.TLSVersion) -> None:
    """Without one the error names the missing certificate; with one of the right authority the result is delivered."""
    context = trusted.context("127.0.0.1", clients=True)
    context.minimum_version = context.maximum_version = version
    with TLSServer(script, context) as server:
        without = HTTPSender()
        with pytest.raises(DeliveryError, match="client certificate") as caught:
            without.send(upload(server.url))
        assert_lasting(caught.value)
        sender = HTTPSender(client_cert=trusted.client_cert(tmp_path))
        assert sender.send(upload(server.url)).status == 200
        sender.close()


def test_client_certificate_may_be_one_file_or_encrypted(trusted: Authority, tmp_path: Path) -> None:
    """One PEM file with both, or a key with its password."""
    certificate, key = trusted.client_cert(tmp_path, password="open sesame")
    both = tmp_path / "both.pem"
    encrypted = (certificate, str(key), "open sesame")
    with TLSServer(script, trusted.context("127.0.0.1", clients=True)) as server:
        with ResultsWriter(client_cert=encrypted) as writer:
            assert writer.write(JobResult(job_id="1", success=True), server.url)[0].status == 200
        certificate, key = trusted.client_cert(tmp_path)
        both.write_bytes(key.read_bytes() + certificate.read_bytes())
        with ResultsWriter(client_cert=str(both)) as writer:
            assert writer.write(JobResult(job_id="1", success=True), server.url)[0].status == 200


def test_client_certificate_that_the_server_rejects_is_named(trusted: Authority, tmp_path: Path) -> None:
    """An expired one, and one of an authority that the server doesn't know."""
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    expired = trusted.client_cert(tmp_path, not_after=yesterday)
    with TLSServer(script, trusted.context("127.0.0.1", clients=True)) as server:
        with pytest.raises(DeliveryError, match="rejects the client certificate") as caught:
            HTTPSender(client_cert=expired).send(upload(server.url))
        assert_lasting(caught.value)
        (tmp_path / "other").mkdir()
        strange = Authority(tmp_path / "other").client_cert(tmp_path)
        with pytest.raises(DeliveryError, match="its CA is unknown there"):
            HTTPSender(client_cert=strange).send(upload(server.url))


@pytest.mark.parametrize("password", [None, "wrong", "x" * 2000])
def test_encrypted_key_without_its_password_is_a_clear_error(
    authority: Authority, tmp_path: Path, password: str | None
) -> None:
    """OpenSSL doesn't prompt at the terminal, and no message contains the password."""
    certificate, key = authority.client_cert(tmp_path, password="open sesame")
    with pytest.raises(ConfigurationError, match=r"encrypted|decrypted|can't be used") as caught:
        ResultsWriter(client_cert=(certificate, key, password))
    assert str(key) in str(caught.value)
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda certificate, key: (certificate, key.parent / "gone.key"), "gone.key can't be read: No such file"),
        (lambda certificate, key: key.parent, "can't be read: Is a directory"),
        (lambda certificate, key: (key, key), "can't be loaded"),
        (lambda certificate, key: certificate, "can't be loaded"),
        (lambda certificate, key: (certificate, key, "x", "y"), "neither a path nor"),
        (lambda certificate, key: (certificate, None), "neither a path nor"),
        (lambda certificate, key: (), "neither a path nor"),
        (lambda certificate, key: 7, "neither a path nor"),
    ],
)
def test_client_certificate_that_cannot_be_loaded_is_a_clear_error(
    authority: Authority, tmp_path: Path, make: Any, said: str
) -> None:
    """At once and not at the first result, with the file's name."""
    with pytest.raises(ConfigurationError, match=said):
        ResultsWriter(client_cert=make(*authority.client_cert(tmp_path)))


def test_key_of_another_certificate_is_a_clear_error(authority: Authority, tmp_path: Path) -> None:
    """Both files are named."""
    (tmp_path / "other").mkdir()
    certificate, _ = authority.client_cert(tmp_path)
    _, key = authority.client_cert(tmp_path / "other")
    with pytest.raises(ConfigurationError, match=f"{key} doesn't belong to the certificate {certificate}"):
        ResultsWriter(client_cert=(certificate, key))


@pytest.mark.parametrize("host", [".example.org", f"{'a' * 64}.example.org", "a..example.org"])
def test_host_that_no_certificate_can_name_is_a_typed_error(trusted: Authority, sender: HTTPSender, host: str) -> None:
    """Python raises a ValueError or a UnicodeError for these."""
    with trusted.serve(script, "127.0.0.1") as server, pytest.raises(InvalidTargetError, match="host"):
        sender.send(upload(f"https://{host}:{server.port}/k"))


@pytest.mark.parametrize(
    ("variable", "said"), [("SSLKEYLOGFILE", "SSLKEYLOGFILE=/nonexistent/file"), ("", "Reinstall certifi")]
)
def test_invalid_tls_configuration_is_not_a_network_error(
    authority: Authority, sender: HTTPSender, monkeypatch: pytest.MonkeyPatch, variable: str, said: str
) -> None:
    """The error names the missing file on this machine, and no attempt is repeated."""
    if variable:
        monkeypatch.setenv(variable, "/nonexistent/file")
    else:
        monkeypatch.delenv("SSLKEYLOGFILE", raising=False)
        monkeypatch.setattr("certifi.contents", lambda: Path("/nonexistent/file").read_text())
    with authority.serve(script, "127.0.0.1") as server, pytest.raises(ConfigurationError, match=said):
        sender.send(upload(server.url))


FORKS = """
import os, signal, sys, threading
from callback_sdk import JobResult, ResultsWriter
hung = 0
for number in range(12):
    writer = ResultsWriter()
    result = JobResult(job_id=str(number), success=True)
    going = threading.Event()
    def write():
        going.set()
        writer.write(result, sys.argv[1])
    thread = threading.Thread(target=write)
    thread.start()
    going.wait()
    # From the first import to the middle of a handshake.
    for _ in range(number * 4000):
        pass
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        writer.write(result, sys.argv[1])
        os._exit(0)
    hung += os.waitpid(child, 0)[1] != 0
    thread.join()
print(hung)
"""


def test_child_that_is_forked_during_the_first_connection_can_write(trusted: Authority) -> None:
    """It inherits neither a lock nor an import that another thread had begun."""
    command = [sys.executable, "-c", FORKS]
    with trusted.serve(script, "127.0.0.1") as server:
        done = subprocess.run([*command, server.url], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "0\n", done.stderr


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
def test_the_name_is_the_urls_and_not_the_address(trusted: Authority, sender: HTTPSender, host: str, name: str) -> None:
    """The server is asked for it (SNI), and its certificate must have it, though an address is connected to."""
    with trusted.serve(script, name) as server:
        assert sender.send(upload(f"https://{host}:{server.port}/k")).status == 200
        assert server.asked == [name]
        sender.close()


def test_wildcard_is_good_for_one_level(trusted: Authority, sender: HTTPSender) -> None:
    """A bucket in the host name is below it; one with a dot in it is not."""
    with trusted.serve(script, "*.s3.example.org") as server:
        assert sender.send(upload(f"https://bucket.s3.example.org:{server.port}/k")).status == 200
        with pytest.raises(DeliveryError, match="can't be verified"):
            sender.send(upload(f"https://my.bucket.s3.example.org:{server.port}/k"))
        sender.close()
