"""callback_sdk.transport.sockets: timeouts of one connection."""

from __future__ import annotations

import socket
import time
from datetime import timedelta
from typing import Any

import pytest

from callback_sdk.documents.body import Body
from callback_sdk.transport.http import _send_all
from callback_sdk.transport.polling import writable
from callback_sdk.transport.sockets import TimedSocket


class SlowLink:
    """A socket that accepts ten bytes at a time, and records the timeout of each wait."""

    def __init__(self) -> None:
        self.timeouts: list[float] = []
        self.sent = b""

    def settimeout(self, seconds: float) -> None:
        self.timeouts.append(seconds)

    def send(self, data: memoryview) -> int:
        self.sent += bytes(data[:10])
        return len(data[:10])


def timed(sock: Any, *, seconds: float = 3600) -> TimedSocket:
    return TimedSocket(sock, time.monotonic() + seconds, timedelta(seconds=30))


def test_the_read_timeout_bounds_each_wait_of_a_large_part() -> None:
    """A part in memory can have any length, and a slow link sends it piece by piece."""
    link = SlowLink()
    assert _send_all(timed(link), b"head", Body(b"x" * 96))
    assert link.sent == b"head" + b"x" * 96
    assert link.timeouts == [30.0] * 10
    link = SlowLink()
    timed(link).sendall(b"y" * 25)
    assert (link.sent, link.timeouts) == (b"y" * 25, [30.0] * 3)


def test_a_response_is_noticed_while_nothing_can_be_sent() -> None:
    """A server that has responded may no longer read."""
    one, other = socket.socketpair()
    with one, other:
        assert not timed(one).receives_before_send()
        one.setblocking(False)
        while writable([one], 0):
            one.send(b"x" * 65536)
        with pytest.raises(TimeoutError):
            timed(one, seconds=0.01).receives_before_send()
        other.sendall(b"y")
        assert timed(one).receives_before_send()


def test_nothing_is_sent_after_the_deadline() -> None:
    """It holds for the whole attempt."""
    link = SlowLink()
    with pytest.raises(TimeoutError):
        timed(link, seconds=-1).sendall(b"x")
    assert link.sent == b""
