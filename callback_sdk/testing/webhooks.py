"""A webhook receiver on loopback that keeps what it was sent and answers as it is told."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any

from attrs import define, field

from callback_sdk.errors import CallbackSDKError

_BODY_LIMIT = 256 * 1024 * 1024


@define(frozen=True, kw_only=True)
class ReceivedRequest:
    """One request as it came in.

    Attributes:
        method: `"POST"` for one.
        path: Path and query.
        headers: Names in lower case, and their values.
        body: The bytes.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def document(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


@define(frozen=True, kw_only=True)
class _Answer:
    status: int = 200
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = b""
    delay: timedelta = timedelta()


class WebhookReceiver:
    """A webhook receiver of one's own, in a thread.

        with WebhookReceiver() as webhook:
            webhook.answer(503, headers={"Retry-After": "1"}).answer(200)
            ResultsWriter().write(result, webhook.url)
            first, second = webhook.wait_for(2)

    Without an answer that it was told, it answers 200 with an empty body.

    Args:
        path: Path of its `url`; it answers on every path.
    """

    def __init__(self, *, path: str = "/webhook") -> None:
        self._path = path
        self._requests: list[ReceivedRequest] = []
        self._answers: deque[_Answer] = deque()
        self._arrived = threading.Condition()
        self._closing = threading.Event()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"WebhookReceiver({self.url!r})" if self._server else "WebhookReceiver()"

    def __enter__(self) -> WebhookReceiver:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where to send to."""
        if self._server is None:
            raise CallbackSDKError("The receiver is not running.", hint="Use it in a with block, or call start().")
        return f"http://127.0.0.1:{self._server.server_address[1]}{self._path}"

    @property
    def requests(self) -> tuple[ReceivedRequest, ...]:
        """What came in so far, in the order of arrival."""
        with self._arrived:
            return tuple(self._requests)

    def start(self) -> None:
        """Open the port and begin to answer."""
        if self._server is None:
            self._closing.clear()
            self._server = _Server(self)
            self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Close the port; answers that are being delayed are not waited for. Twice is no error."""
        server, self._server = self._server, None
        self._closing.set()
        if server is not None and self._thread is not None:
            server.shutdown()
            self._thread.join()
            server.server_close()

    def answer(
        self,
        status: int,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        delay: timedelta = timedelta(),
        times: int = 1,
    ) -> WebhookReceiver:
        """Tell what to answer to one of the next requests; each call adds to the line.

        Args:
            status: HTTP status.
            headers: Names and values, `Retry-After` for one.
            body: Bytes of the answer.
            delay: How long to wait before answering.
            times: To how many requests.

        Returns:
            The receiver itself, for the next call.
        """
        answer = _Answer(status=status, headers=dict(headers or {}), body=body, delay=delay)
        with self._arrived:
            self._answers.extend([answer] * times)
        return self

    def wait_for(self, count: int = 1, *, timeout: timedelta = timedelta(seconds=30)) -> tuple[ReceivedRequest, ...]:
        """Wait until so many requests have come in, counted from the start.

        Args:
            count: How many.
            timeout: How long to wait at most.

        Returns:
            All requests so far.

        Raises:
            TimeoutError: There were fewer in that time.
        """
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self._requests) >= count, timeout.total_seconds()):
                raise TimeoutError(
                    f"{len(self._requests)} of {count} requests came in within {timeout.total_seconds():g} s."
                )
            return tuple(self._requests)

    def _take(self, request: ReceivedRequest) -> _Answer:
        with self._arrived:
            self._requests.append(request)
            answer = self._answers.popleft() if self._answers else _Answer()
            self._arrived.notify_all()
        return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, receiver: WebhookReceiver) -> None:
        self.receiver = receiver
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a sender that hangs up is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60

    def _handle(self) -> None:
        receiver = self.server.receiver
        body = self._read_body()
        headers = MappingProxyType({name.lower(): value for name, value in self.headers.items()})
        request = ReceivedRequest(method=self.command, path=self.path, headers=headers, body=body)
        answer = receiver._take(request)
        if answer.delay:
            receiver._closing.wait(answer.delay.total_seconds())
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if "content-length" not in {name.lower() for name in answer.headers}:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._read_chunks()
        length = int(self.headers.get("Content-Length") or 0)
        if length > _BODY_LIMIT:
            self.close_connection = True
            return b""
        return self.rfile.read(length)

    def _read_chunks(self) -> bytes:
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
            if len(body) > _BODY_LIMIT:
                self.close_connection = True
                break
        else:
            while self.rfile.readline().strip():
                pass
        return bytes(body)

    def do_GET(self) -> None:
        self._handle()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep quiet: the path may hold a credential."""
