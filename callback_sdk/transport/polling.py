"""Checks which sockets are ready, by `select.poll` if available, otherwise by `select.select`.

`select.poll` is preferred: `select.select` raises ValueError for descriptors above 1023 (FD_SETSIZE, select(2)).
It is missing on Windows, where `select.select` has no such limit, and after `eventlet.monkey_patch()`, which removes it
because it would block the event loop, and leaves a `select.select` of its own.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

READ, WRITE = 1, 2
"""Events: data, or the end, can be received; data can be sent, or a connection was established or has failed."""

_MAX_LENGTH = 2**31 - 1

# Windows has no poll, and so none of its events.
_READABLE: int = getattr(select, "POLLIN", 0) | getattr(select, "POLLHUP", 0) | getattr(select, "POLLERR", 0)


def readable(sock: socket.socket) -> bool:
    """Return whether a socket is readable now; at the end of the connection it is."""
    return bool(ready((sock,), READ, 0))


def ready(sockets: Sequence[socket.socket], events: int, seconds: float) -> dict[socket.socket, int]:
    """Wait until the first sockets are ready, and return these with their events; none when the time is over.

    Args:
        sockets: Non-blocking sockets.
        events: `READ`, `WRITE` or both.
        seconds: Maximum time to wait.
    """
    # Looked up at each call: a program may patch `select` after this module was imported.
    if not hasattr(select, "poll"):
        return _select(dict.fromkeys(sockets, events), seconds)
    poll, wanted = select.poll(), _bits(events)
    by_number = {sock.fileno(): sock for sock in sockets}
    for number in by_number:
        poll.register(number, wanted)
    # The timeout is a C int of milliseconds (poll(2)).
    found = poll.poll(min(seconds * 1000, _MAX_LENGTH))
    return {by_number[number]: _events(bits, events) for number, bits in found} if found else {}


def _bits(events: int) -> int:
    return (_READABLE if events & READ else 0) | (select.POLLOUT if events & WRITE else 0)


def _events(bits: int, wanted: int) -> int:
    found = (READ if bits & _READABLE else 0) | (WRITE if bits & select.POLLOUT else 0)
    # A failed connection is an error alone. Whatever is wanted next raises it.
    return found & wanted or wanted


def _select(wanted: Mapping[socket.socket, int], seconds: float) -> dict[socket.socket, int]:
    reading, writing = ([sock for sock, events in wanted.items() if events & event] for event in (READ, WRITE))
    # Windows reports a connection that failed as an exception, and not as writable (Winsock, `select`).
    failed = writing if os.name == "nt" else []
    received, sendable, errors = select.select(reading, writing, failed, seconds)
    found = dict.fromkeys(received, READ)
    for sock in {*sendable, *errors}:
        found[sock] = found.get(sock, 0) | WRITE
    return found


class Poller:
    """Waits for the sockets of many coroutines.

    epoll(7) would take a system call for each socket that is added or removed, which is for each request twice, and a
    descriptor that a fork shares. poll(2) takes one call for all of them.
    """

    def __init__(self) -> None:
        self._poll: Any = select.poll() if hasattr(select, "poll") else None
        self._wanted: dict[socket.socket, int] = {}
        self._sockets: dict[int, socket.socket] = {}

    def add(self, sock: socket.socket, events: int) -> None:
        """Wait for a socket too.

        Raises:
            ValueError: It is closed.
        """
        number = sock.fileno()
        if number < 0:
            raise ValueError("the socket is closed")
        if self._poll is not None:
            self._poll.register(number, _bits(events))
        self._sockets[number] = sock
        self._wanted[sock] = events

    def remove(self, sock: socket.socket) -> None:
        """Wait for a socket no longer. It must still be open."""
        number = sock.fileno()
        if self._poll is not None:
            self._poll.unregister(number)
        del self._sockets[number], self._wanted[sock]

    def wait(self, seconds: float) -> dict[socket.socket, int]:
        """Wait until sockets are ready, and return these with their events; none when the time is over."""
        if not self._wanted:
            # `select.select` of Windows needs sockets.
            time.sleep(max(0.0, min(seconds, _MAX_LENGTH / 1000)))
            return {}
        if self._poll is None:
            return _select(self._wanted, min(max(0.0, seconds), _MAX_LENGTH / 1000))
        found = self._poll.poll(min(max(0.0, seconds) * 1000, _MAX_LENGTH))
        sockets = ((self._sockets[number], bits) for number, bits in found)
        return {sock: _events(bits, self._wanted[sock]) for sock, bits in sockets}
