"""Checks which sockets are ready, by `select.poll` if available, otherwise by `select.select`.

`select.poll` is preferred: `select.select` raises ValueError for descriptors above 1023 (FD_SETSIZE, select(2)).
It is missing on Windows, where `select.select` has no such limit, and after `eventlet.monkey_patch()`, which removes it
because it would block the event loop, and leaves a `select.select` of its own.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Sequence

_MAX_LENGTH = 2**31 - 1

# Windows has no poll, and so none of its events.
_READABLE: int = getattr(select, "POLLIN", 0) | getattr(select, "POLLHUP", 0) | getattr(select, "POLLERR", 0)


def readable(sock: socket.socket) -> bool:
    """Return whether a socket is readable now; at the end of the connection it is."""
    return bool(_wait([sock], reading=True, seconds=0))


def writable(sockets: Sequence[socket.socket], seconds: float) -> list[socket.socket]:
    """Wait for the first sockets to connect, or to fail, and return them.

    Args:
        sockets: Non-blocking sockets.
        seconds: Maximum time to wait; then the list is empty.
    """
    return _wait(sockets, reading=False, seconds=seconds)


def readable_or_writable(sock: socket.socket, seconds: float) -> tuple[bool, bool]:
    """Wait until a socket is readable or writable, and tell which of the two; neither when the time is over."""
    if not hasattr(select, "poll"):
        received, sendable, _ = select.select([sock], [sock], [], seconds)
        return bool(received), bool(sendable)
    poll = select.poll()
    poll.register(sock, _READABLE | select.POLLOUT)
    # The timeout is a C int of milliseconds (poll(2)).
    found = poll.poll(min(seconds * 1000, _MAX_LENGTH))
    events = found[0][1] if found else 0
    return bool(events & _READABLE), bool(events & select.POLLOUT)


def _wait(sockets: Sequence[socket.socket], *, reading: bool, seconds: float) -> list[socket.socket]:
    # Looked up at each call: a program may patch `select` after this module was imported.
    if not hasattr(select, "poll"):
        # Windows reports a connection that failed as an exception, and not as writable (Winsock, `select`).
        failed = sockets if os.name == "nt" and not reading else []
        ready = select.select(sockets if reading else [], [] if reading else sockets, failed, seconds)
        found = {sock for group in ready for sock in group}
        return [sock for sock in sockets if sock in found]
    poll = select.poll()
    for sock in sockets:
        poll.register(sock, _READABLE if reading else select.POLLOUT)
    numbers = {number for number, _ in poll.poll(seconds * 1000)}
    return [sock for sock in sockets if sock.fileno() in numbers]
