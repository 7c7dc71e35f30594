"""Which sockets are ready, with what the process has for it.

`eventlet.monkey_patch()` removes `select.poll`, because it would block its event loop, and leaves a `select.select` of
its own. `select.poll` is preferred, because `select.select` takes no descriptor above 1023.
"""

from __future__ import annotations

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
        ready = select.select(sockets if reading else [], [] if reading else sockets, [], seconds)
        return [*ready[0], *ready[1]]
    poll = select.poll()
    for sock in sockets:
        poll.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR if reading else select.POLLOUT)
    found = {number for number, _ in poll.poll(seconds * 1000)}
    return [sock for sock in sockets if sock.fileno() in found]
