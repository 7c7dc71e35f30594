"""A small HTTP server that plays the service for tests of the client."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import define, field


@define
class Seen:
    """One request as it arrived.

    Attributes:
        path: Its path and query, without `wait`.
        wait: The seconds for which the service may hold the response back.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)
    wait: float = 0.0

    @property
    def parts(self) -> list[tuple[str, bytes]]:
        """The parts of a multipart body: names and contents."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        message = BytesParser(policy=HTTP).parsebytes(head + self.body)
        return [
            (part.get_param("name", header="content-disposition"), part.get_payload(decode=True))
            for part in message.iter_parts()
        ]

    @property
    def form(self) -> dict[str, bytes]:
        """The parts by name."""
        return dict(self.parts)


@define
class Say:
    """One answer.

    Attributes:
        hold: Keeps the answer back until it is set.
        cut: How many of the announced bytes to leave out.
        drop: Close the connection without an answer.
        unread: Answer without having read the request's body.
    """

    status: int = 200
    data: Any = None
    headers: dict[str, str] = field(factory=dict)
    raw: bytes | None = None
    hold: threading.Event | None = None
    cut: int = 0
    drop: bool = False
    unread: bool = False


class _QuietServer(ThreadingHTTPServer):
    """Says nothing about connections that ended early: the client's standard error is examined."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class FakeService:
    """Sends scripted responses per method and path; the last response of a list is repeated.

    It answers at once, as a service does that knows no long polling and ignores its parameter.
    """

    def __init__(self) -> None:
        self.requests: list[Seen] = []
        self.script: dict[tuple[str, str], list[Say]] = {}
        self._lock = threading.Lock()
        self._server = _QuietServer(("127.0.0.1", 0), self._handler())
        # A handler that still holds a connection must not hold up the end of a test.
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}/api/v2"

    Say = Say

    def on(self, method: str, path: str, *answers: Say) -> None:
        """Set the responses of a call, with a path relative to the API."""
        self.script[method, f"/api/v2{path}"] = list(answers)

    def paths(self, method: str) -> list[str]:
        """Return the paths of the requests with a method."""
        return [seen.path for seen in self.requests if seen.method == method]

    def answer(self, seen: Seen) -> Say:
        with self._lock:
            self.requests.append(seen)
            answers = self.script.get((seen.method, seen.path), [])
            if len(answers) > 1:
                return answers.pop(0)
        return answers[0] if answers else Say(404, {"status": False, "error": "Not found."})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def log_message(self, *_: object) -> None:
                pass

            def _serve(self) -> None:
                # A client that has given up doesn't listen.
                with contextlib.suppress(ConnectionError):
                    self._speak()

            def _speak(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                path, _, wait = self.path.partition("?wait=")
                key = (self.command, path)
                unread = any(say.unread for say in service.script.get(key, [])[:1])
                body = b"" if unread else self.rfile.read(length)
                headers = {name.lower(): value for name, value in self.headers.items()}
                say = service.answer(Seen(self.command, path, headers, body, float(wait or 0)))
                if say.hold is not None:
                    say.hold.wait(60)
                if say.drop:
                    self.close_connection = True
                    return
                data = say.raw if say.raw is not None else json.dumps(say.data).encode()
                self.send_response(say.status)
                for name, value in {"Content-Type": "application/json", **say.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) - say.cut])
                if say.cut or say.unread:
                    self.close_connection = True

            do_GET = do_POST = do_DELETE = _serve

        return Handler
