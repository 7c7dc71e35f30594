"""A server with a script for each connection, for responses that no correct server would send."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType


class RawServer:
    """Accepts connections, and runs a script for each.

    Args:
        script: Called with each connection and its number, from 0.
        host: Address to listen on.
    """

    def __init__(self, script: Callable[[socket.socket, int], None], host: str = "127.0.0.1") -> None:
        self._script = script
        self._listener = socket.create_server((host, 0))
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []
        self._closing = threading.Event()
        self.port = self._listener.getsockname()[1]
        self.url = f"http://{host}:{self.port}"
        self.connections = 0

    def __enter__(self) -> RawServer:
        self._threads.append(threading.Thread(target=self._serve, daemon=True))
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            # A client may keep its connection open. Shutting it down ends scripts that wait for the next request.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        for thread in self._threads:
            thread.join(60)

    def wait(self, seconds: float) -> None:
        """Sleep, but not longer than the server runs."""
        self._closing.wait(seconds)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._run, args=(connection, self.connections), daemon=True)
            self.connections += 1
            self._connections.append(connection)
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: socket.socket, number: int) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(60)
            self._script(connection, number)


def read_request(connection: socket.socket) -> tuple[bytes, bytes]:
    """Read one request, and return its head and body; both are empty if the client has disconnected."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return b"", b""
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    while len(body) < length:
        chunk = connection.recv(65536)
        if not chunk:
            return b"", b""
        body += chunk
    return head, body


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    """Return the bytes of a response with a Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body
