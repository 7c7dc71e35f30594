"""An HTTP server on loopback for stand-ins of object stores: it asks a store about each request, and keeps nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol, TypeVar
from urllib.parse import parse_qsl

from attrs import define


class Refusal(Exception):
    """What the store answers: a status and a code."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code


@define(frozen=True)
class Request:
    """A request as it came in.

    Attributes:
        path: The path as it stood in the request line.
        query: The query as it stood there.
        headers: Names in lower case.
        body: The bytes.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    def parameters(self) -> dict[str, str]:
        """Return the query's parameters, decoded."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    def form(self) -> tuple[dict[str, str], bytes]:
        """Return the fields before the file, and the file; stores ignore what comes after it."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        fields: dict[str, str] = {}
        for part in BytesParser(policy=HTTP).parsebytes(head + self.body).iter_parts():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            if name == "file":
                return fields, content
            fields[str(name)] = content.decode()
        raise Refusal(400, "InvalidArgument")


class Store(Protocol):
    """What the server needs of a store."""

    endpoint: str

    def take(self, request: Request) -> int:
        """Check a request, keep what it brings, and return the status."""


S = TypeVar("S", bound=Store)


@contextmanager
def running(store: S) -> Iterator[S]:
    """Run a store in a thread."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": store}))
    store.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    store: Store
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            status, answer = self.store.take(Request(self.command, path, query, headers, body)), b""
        except Refusal as refusal:
            status, answer = refusal.status, f"<Error><Code>{refusal.code}</Code></Error>".encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_PUT

    def log_message(self, *args: object) -> None:
        """Keep quiet."""
