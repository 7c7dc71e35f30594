"""A small HTTP proxy with tunnels (CONNECT) and forwarding (absolute form), which can reject requests."""

from __future__ import annotations

import contextlib
import select
import socket

from tests.rawserver import RawServer, answer


class ProxyServer(RawServer):
    """Forwards all requests to one port of loopback, regardless of their host, because a proxy resolves names itself.

    Args:
        port: Port of the server.
        status: Status with which requests are rejected, such as `"403 Forbidden"`; None to forward them.

    Attributes:
        heads: The first head of each connection.
    """

    def __init__(self, port: int, *, status: str | None = None) -> None:
        self.heads: list[bytes] = []
        self._status = status
        self._target = ("127.0.0.1", port)
        super().__init__(self._serve_one)

    def _serve_one(self, connection: socket.socket, number: int) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        self.heads.append(head)
        if self._status is not None:
            connection.sendall(answer(self._status))
            return
        with socket.create_connection(self._target, 10) as target:
            if head.startswith(b"CONNECT "):
                connection.sendall(b"HTTP/1.1 200 Go\r\n\r\n")
            else:
                target.sendall(head)
            self._relay(connection, target)

    def _relay(self, here: socket.socket, there: socket.socket) -> None:
        other = {here: there, there: here}
        with contextlib.suppress(OSError):
            while not self._closing.is_set():
                for sock in select.select([here, there], [], [], 0.1)[0]:
                    data = sock.recv(65536)
                    if not data:
                        return
                    other[sock].sendall(data)
