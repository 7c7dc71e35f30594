"""Deliveries through real proxies, by a writer and by a service."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from callback_sdk import AddressGuard, DeliveryProxy, JobResult, ResultsWriter
from callback_sdk.errors import AddressNotAllowedError, DeliveryError
from tests.checkers import forward_proxies
from tests.conftest import missing_server
from tests.rawserver import RawServer, answer, read_request
from tests.tlsserver import Authority, TLSServer
from tests.topology import Topology, wait_until

RESULT = JobResult(job_id="42", success=True, results={})
HOST = "hook.example.org"


@pytest.fixture(scope="module")
def address() -> str:
    """Return an address of this machine that proxies are used for."""
    found = forward_proxies.own_address()
    if found is None:
        missing_server("This machine has no address but loopback, which is never reached through a proxy.")
    return found


@pytest.fixture
def name(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a name known here only: a proxy that resolves it fails."""
    real = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        return real(address if host in (HOST, HOST.encode()) else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return HOST


@pytest.fixture(params=["tinyproxy", "squid"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Start a proxy, and return its URL."""
    command = forward_proxies.find(request.param)
    if command is None:
        missing_server(f"{request.param} is missing: install Debian's package of this name.")
    with ExitStack() as stack:

        def start(ports: str = "", login: str = f"{forward_proxies.LOGIN}@") -> str:
            # Not below the directory of the tests, which other users can't enter.
            folder = Path(stack.enter_context(TemporaryDirectory()))
            (tmp_path / "proxy").symlink_to(folder)
            port = stack.enter_context(forward_proxies.running(request.param, command, folder, ports=ports))
            return f"http://{login if request.param == 'tinyproxy' else ''}127.0.0.1:{port}"

        yield start


@pytest.fixture
def heads() -> list[bytes]:
    """Collect the heads of the receiver's requests."""
    return []


@pytest.fixture
def script(heads: list[bytes]) -> Callable[[socket.socket, int], None]:
    """Take every webhook."""

    def take(connection: socket.socket, number: int) -> None:
        while head := read_request(connection)[0]:
            heads.append(head)
            connection.sendall(answer("200 OK"))

    return take


def writer(url: str, address: str, **options: Any) -> ResultsWriter:
    guard = AddressGuard(allow_networks=[f"{address}/32:*"])
    return ResultsWriter(timeout=0, guard=guard, proxy=DeliveryProxy(url=url, **options))


def log(tmp_path: Path) -> str:
    return (tmp_path / "proxy/log").read_text()


def test_plain_webhook_arrives(
    start: Callable[..., str], script: Any, heads: list[bytes], name: str, address: str, tmp_path: Path
) -> None:
    """The proxy connects to the address, and the receiver sees the name."""
    with RawServer(script, address) as receiver, writer(start(ports=str(receiver.port)), address) as sender:
        assert sender.write(RESULT, f"http://{name}:{receiver.port}/done")[0].status == 200
    (head,) = heads
    assert f"Host: {name}:{receiver.port}\r\n".encode() in head
    assert b"proxy" not in head.lower()
    wait_until(lambda: f"{address}:{receiver.port}" in log(tmp_path))
    assert name not in log(tmp_path)


def test_encrypted_webhook_arrives(
    start: Callable[..., str],
    script: Any,
    heads: list[bytes],
    name: str,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Certificate and SNI have the name."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with TLSServer(script, authority.context(name), address) as receiver:
        with writer(start(ports=str(receiver.port)), address) as sender:
            assert sender.write(RESULT, f"https://{name}:{receiver.port}/done?token=abc")[0].status == 200
        assert receiver.asked == [name]
    assert f"Host: {name}:{receiver.port}\r\n".encode() in heads[0]
    wait_until(lambda: f"{address}:{receiver.port}" in log(tmp_path))
    assert name not in log(tmp_path)


def test_proxy_that_refuses_is_named(start: Callable[..., str], script: Any, address: str) -> None:
    """A wrong password, or a port that it doesn't permit; without the password."""
    with RawServer(script, address) as receiver:
        url = start(login="runner:wrongpassword@")
        with writer(url, address) as sender, pytest.raises(DeliveryError) as caught:
            sender.write(RESULT, f"http://{address}:{receiver.port}/done")
    said = f"{caught.value} {vars(caught.value)}"
    assert f"through the proxy http://127.0.0.1:{url.rpartition(':')[2]}, is unreachable: it answered 40" in said
    assert "wrongpassword" not in said


def test_private_address_never_reaches_the_proxy(
    start: Callable[..., str], name: str, address: str, tmp_path: Path
) -> None:
    """It is rejected here."""
    with ResultsWriter(timeout=0, guard=AddressGuard(), proxy=DeliveryProxy(url=start())) as sender:
        for url in (f"http://{name}/done", "http://169.254.169.254/", "http://10.0.0.1/"):
            with pytest.raises(AddressNotAllowedError):
                sender.write(RESULT, url)
    assert not [place for place in (address, "169.254", "10.0.0.1") if place in log(tmp_path)]


def test_service_delivers_through_the_proxy(
    start: Callable[..., str], script: Any, heads: list[bytes], address: str, tmp_path: Path
) -> None:
    """Except to the hosts that are reached directly; its log has no password."""
    with RawServer(script, address) as receiver, RawServer(script, address) as direct:
        settings = {
            "CALLBACK_PROXY": start(ports=str(receiver.port)),
            "CALLBACK_NO_PROXY": f"{address}:{direct.port}",
            "ALLOW_NETWORKS": f"{address}/32:*",
        }
        with Topology(tmp_path, "proxy_jobs:registry", processes=1, settings=settings) as topology:
            with topology.client() as client:
                urls = [f"http://{address}:{port}/done" for port in (receiver.port, direct.port)]
                task = client.run_algorithm("talks", {"a": [1]}, callbacks=urls).wait(timeout=60, progress=False)
                wait_until(lambda: all(one.status == "delivered" for one in client.get_deliveries(task.job_id)))
            assert "topsecret7f3a" not in topology.log
    assert len(heads) == 2
    wait_until(lambda: f"{address}:{receiver.port}" in log(tmp_path))
    assert f"{address}:{direct.port}" not in log(tmp_path)
