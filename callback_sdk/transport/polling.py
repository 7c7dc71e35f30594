"""Which sockets are ready, with what the process has for it.

`eventlet.monkey_patch()` removes `select.poll`, because it would block its event loop, and leaves a `select.select` of
its own. `select.poll` is preferred, because `select.select` takes no descriptor above 1023.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Sequence


def readable(sock: socket.socket) -> bool:
    """Tell whether something can be read from a socket at this moment, its end included."""
    return bool(_wait([sock], reading=True, seconds=0))


def writable(sockets: Sequence[socket.socket], seconds: float) -> list[socket.socket]:
    """Return the sockets whose connection is established or has failed; wait for the first one.

    Args:
        sockets: Sockets that don't block.
        seconds: How long to wait; then the list is empty.
    """
    return _wait(sockets, reading=False, seconds=seconds)


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
        poll.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR if reading else select.POLLOUT)
    numbers = {number for number, _ in poll.poll(seconds * 1000)}
    return [sock for sock in sockets if sock.fileno() in numbers]
