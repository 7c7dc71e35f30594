"""From a host to a connection: bounded, and not held up by one address that is silent."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from callback_sdk.errors import DeliveryError
from callback_sdk.redaction import SecretURL
from callback_sdk.transport import connect as dialing
from callback_sdk.transport.asyncio_driver import ASYNCIO
from callback_sdk.transport.connect import Addresses, connect_happy_eyeballs, resolve
from callback_sdk.transport.driver import BLOCKING, run
from callback_sdk.transport.http import HTTPSender, Timeouts
from tests.unit.transport.test_http import upload

PATIENCE = 60.0

Connect = Callable[[Addresses, float], socket.socket]


def inet(port: int, host: str = "127.0.0.1") -> tuple[Any, ...]:
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)


def soon(seconds: float = PATIENCE) -> float:
    return time.monotonic() + seconds


@pytest.fixture(params=["blocking", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Return the function that connects, with each driver."""
    if request.param == "blocking":
        return lambda addresses, deadline: run(connect_happy_eyeballs(addresses, deadline, BLOCKING))
    return lambda addresses, deadline: asyncio.run(connect_happy_eyeballs(addresses, deadline, ASYNCIO))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Accept connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def silent() -> Iterator[int]:
    """Return a port that neither responds nor refuses: its backlog is full, so the kernel drops packets."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        yield server.getsockname()[1]


@pytest.fixture
def refusing() -> int:
    """Return a port without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_first_address_is_taken_when_it_answers(connect: Connect, listener: socket.socket, refusing: int) -> None:
    """The others are left alone."""
    port = listener.getsockname()[1]
    with connect([inet(port), inet(refusing)], soon()) as sock:
        assert sock.getpeername()[1] == port


def test_silent_address_does_not_use_up_the_others_time(connect: Connect, silent: int, listener: socket.socket) -> None:
    """The second is tried beside it, long before the time is over."""
    port = listener.getsockname()[1]
    with connect([inet(silent), inet(port)], soon(600)) as sock:
        assert sock.getpeername()[1] == port


def test_refusing_address_is_passed_at_once(
    connect: Connect, refusing: int, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No head start is waited for where there is nothing to wait for."""
    monkeypatch.setattr(dialing, "HEAD_START", timedelta(hours=1))
    port = listener.getsockname()[1]
    with connect([inet(refusing), inet(refusing), inet(port)], soon()) as sock:
        assert sock.getpeername()[1] == port


def test_connecting_ends_at_the_timeout(connect: Connect, silent: int) -> None:
    """Two silent addresses don't take twice as long."""
    with pytest.raises(TimeoutError):
        connect([inet(silent), inet(silent)], soon(0.5))


def test_refusal_by_all_addresses_is_an_error(connect: Connect, refusing: int) -> None:
    """The error is the last one."""
    with pytest.raises(ConnectionRefusedError):
        connect([inet(refusing), inet(refusing)], soon())


def test_family_that_the_machine_lacks_is_passed(connect: Connect, listener: socket.socket) -> None:
    """Such as IPv6 without a route."""
    port = listener.getsockname()[1]
    nowhere = (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("100::1", 9, 0, 0))
    unknown = (9999, socket.SOCK_STREAM, 0, "", ("", 0))
    with connect([unknown, nowhere, inet(port)], soon()) as sock:
        assert sock.getpeername()[1] == port


def test_no_address_is_an_error(connect: Connect) -> None:
    """An empty answer connects nowhere."""
    with pytest.raises(OSError, match="no address"):
        connect([], soon())


def test_families_take_turns(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken family costs one head start, not one for each of its addresses."""
    tried = []

    def begin(address: Any) -> socket.socket:
        tried.append(address[4][0])
        raise OSError

    monkeypatch.setattr(dialing, "_begin", begin)
    six = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (f"::{n}", 1, 0, 0)) for n in range(3)]
    with pytest.raises(OSError):  # noqa: PT011 (it has no text)
        connect([*six, inet(1, "a"), inet(1, "b")], soon())
    assert tried == ["::0", "a", "::1", "b", "::2"]


def test_slow_resolver_does_not_block_an_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's resolver may take half a minute without name servers; the connect timeout applies."""
    ended = threading.Event()

    def getaddrinfo(*_: Any, **__: Any) -> Addresses:
        ended.wait(PATIENCE)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    sender = HTTPSender(timeouts=Timeouts(connect=timedelta(seconds=0.2)))
    with pytest.raises(DeliveryError, match="can't be resolved") as caught:
        sender.send(upload("http://slow.example.org/"))
    ended.set()
    assert caught.value.retryable


@pytest.mark.parametrize("host", ["a..example", ".example"])
def test_invalid_name_has_no_address(host: str) -> None:
    """Python's IDNA codec would raise another exception."""
    with pytest.raises(socket.gaierror):
        resolve(SecretURL(f"http://{host}/"), soon())


def test_numbers_are_resolved_at_once() -> None:
    """Without a thread, in every notation."""
    for host in ("127.0.0.1", "0x7f.1", "2130706433"):
        assert [address[4] for address in resolve(SecretURL(f"http://{host}:81/"), soon())] == [("127.0.0.1", 81)]
