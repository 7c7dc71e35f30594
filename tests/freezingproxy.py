"""A TCP proxy in front of a real server that can be silenced: it accepts connections and forwards nothing."""

from __future__ import annotations

import select
import socket
import threading

from tests.rawserver import RawServer


class FreezingProxy(RawServer):
    """Forwards connections to a server until it is frozen.

    Args:
        port: Port of the server, on loopback.
    """

    def __init__(self, port: int) -> None:
        super().__init__(lambda connection, _: self._forward(connection))
        self._server_port = port
        self._frozen = threading.Event()

    def freeze(self) -> None:
        """Accept new connections, but forward nothing."""
        self._frozen.set()

    def thaw(self) -> None:
        """Forward new connections again."""
        self._frozen.clear()

    def _forward(self, connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._server_port), timeout=60) as server:
            pairs = {connection: server, server: connection}
            while not self._closing.is_set():
                readable, _, _ = select.select(list(pairs), [], [], 0.1)
                if self._frozen.is_set():
                    self._closing.wait(0.1)
                    continue
                for source in readable:
                    data = source.recv(65536)
                    if not data:
                        return
                    pairs[source].sendall(data)
