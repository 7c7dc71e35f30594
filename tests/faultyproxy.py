"""An HTTP proxy in front of a real server, which a test lets fail at requests of its choice."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class Failure(Enum):
    """What happens to a request.

    Attributes:
        ERROR: 503; the server doesn't see the request.
        BROKEN: The server sees half of the body, and the client no response.
        LOST: The server carries out the request, and the client sees no response.
    """

    ERROR = "error"
    BROKEN = "broken"
    LOST = "lost"


class FaultyProxy:
    """Forwards requests to a server on loopback, each over a connection of its own.

    Args:
        port: Port of the server.
        choose: Called with method, path and query, and the number of each request, from 0, before it is forwarded;
            returns its failure, or None.

    Attributes:
        port: Port of the proxy.
        requests: Method, path and query of each request.
        after: Called with the number of each request after it was forwarded, before its response is returned.
    """

    def __init__(self, port: int, choose: Callable[[str, str, int], Failure | None] = lambda *_: None) -> None:
        self._lock = threading.Lock()
        self._target = ("127.0.0.1", port)
        self.choose = choose
        self.after: Callable[[int], None] = lambda number: None
        self.requests: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def begin(self, method: str, path: str) -> tuple[int, Failure | None]:
        """Record a request, and return its number and failure."""
        with self._lock:
            number = len(self.requests)
            self.requests.append((method, path))
            return number, self.choose(method, path, number)

    def forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Make a request to the server, and return status, headers and body of its response."""
        connection = http.client.HTTPConnection(*self._target, timeout=30)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def forward_half(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        """Send a request with half of its body, and close the connection."""
        with socket.create_connection(self._target) as connection:
            lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
            connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body[: len(body) // 2])
            connection.shutdown(socket.SHUT_WR)
            # The server has read it when it responds or closes its side.
            connection.recv(1024)


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultyProxy
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        number, failure = self.proxy.begin(self.command, self.path)
        headers = dict(self.headers.items())
        if failure is Failure.ERROR:
            self._respond(503, [], b"<Error><Code>ServerBusy</Code></Error>")
            return
        if failure is Failure.BROKEN:
            self.proxy.forward_half(self.command, self.path, headers, body)
            self.close_connection = True
            return
        try:
            status, given, answer = self.proxy.forward(self.command, self.path, headers, body)
        except (OSError, http.client.HTTPException):
            # The server was killed.
            self.close_connection = True
            return
        self.proxy.after(number)
        if failure is Failure.LOST:
            self.close_connection = True
            return
        self._respond(status, given, answer)

    do_POST = do_HEAD = do_DELETE = do_GET = do_PUT

    def _respond(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        own = {"content-length", "connection", "transfer-encoding", "keep-alive"}
        for name, value in headers:
            if name.lower() not in own:
                self.send_header(name, value)
        # The response to HEAD has the length of the object.
        lengths = [value for name, value in headers if name.lower() == "content-length"]
        self.send_header("Content-Length", lengths[0] if self.command == "HEAD" and lengths else str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Keep quiet."""
