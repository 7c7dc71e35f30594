"""An HTTP server on loopback that records requests and injects faults."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, TypeVar

from attrs import evolve

from callback_sdk.errors import CallbackSDKError
from callback_sdk.testing.faults import BEFORE_BODY, Fault, FaultResponse, Faults, Step, whole_seconds
from callback_sdk.testing.received import ReceivedRequest

S = TypeVar("S", bound="RecordingServer")

BODY_LIMIT = 256 * 1024 * 1024
"""Maximum bytes of a body, because bodies are kept in memory."""

_LINGER = 5.0
_SECONDS_FOR_SILENCE = 60


class RecordingServer:
    """Base of the local servers for tests: ports, threads, recorded requests, and faults.

    Args:
        faults: Random faults; None for none.
        ports: Number of ports to listen on.
        tls: Server-side settings of TLS with a certificate; None for plain HTTP.
    """

    default_faults: tuple[Fault, ...] = tuple(Fault)

    def __init__(self, *, faults: Faults | None = None, ports: int = 2, tls: ssl.SSLContext | None = None) -> None:
        self._schedule = (faults or Faults(rate=0)).schedule(self.default_faults)
        self._steps: deque[Step] = deque()
        self._requests: list[ReceivedRequest] = []
        self._running: Counter[str] = Counter()
        self._most: Counter[str] = Counter()
        self._arrived = threading.Condition()
        self._closing = threading.Event()
        self._listeners: list[_ListeningServer] = []
        self._ports = ports
        self._tls = tls
        self._origins: tuple[str, ...] = ("",) * ports

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}({self._origin!r})" if self._listeners else f"{name}()"

    def __enter__(self: S) -> S:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def requests(self) -> tuple[ReceivedRequest, ...]:
        """All requests so far, in the order of arrival, whether carried out or not."""
        with self._arrived:
            return tuple(self._requests)

    @property
    def accepted(self) -> tuple[ReceivedRequest, ...]:
        """The requests that were carried out, whether or not the sender got the response."""
        return tuple(request for request in self.requests if request.accepted)

    @property
    def max_concurrent(self) -> Mapping[str, int]:
        """The highest number of concurrent requests for each object or webhook.

        The keys are `bucket/key` of objects and `webhook-id` of webhooks. More than 1 means that two senders made the
        same delivery at the same time.
        """
        with self._arrived:
            return dict(self._most)

    def start(self) -> None:
        """Open the ports and serve requests."""
        if not self._listeners:
            self._closing.clear()
            self._origins = tuple(self._listen() for _ in range(self._ports))

    def close(self) -> None:
        """Close ports and connections without waiting for delayed responses. Idempotent."""
        listeners, self._listeners = self._listeners, []
        self._closing.set()
        for listener in listeners:
            listener.close()

    def respond(
        self: S,
        status: int,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        delay: timedelta = timedelta(),
        times: int = 1,
    ) -> S:
        """Send a prepared response to the next request instead of carrying it out. Each call appends to the schedule.

        Args:
            status: HTTP status.
            headers: Headers of the response, such as `Retry-After`.
            body: Body of the response.
            delay: Delay before the response.
            times: Number of requests.

        Returns:
            The server itself, for the next call.
        """
        response = FaultResponse(status=status, headers=dict(headers or {}), body=body)
        return self._expect(Step(response=response, delay=delay), times)

    def inject_fault(
        self: S,
        fault: Fault,
        *,
        delay: timedelta = timedelta(milliseconds=100),
        retry_after: timedelta = timedelta(seconds=1),
        times: int = 1,
    ) -> S:
        """Inject a fault into the next request. Each call appends to the schedule.

        Args:
            fault: The fault.
            delay: Delay of the response with `Fault.SLOW`.
            retry_after: Value of `Retry-After` with `Fault.THROTTLED`, in whole seconds.
            times: Number of requests.

        Returns:
            The server itself, for the next call.
        """
        return self._expect(Step(fault=fault, delay=delay, retry_after=retry_after), times)

    def wait_for(self, count: int = 1, *, timeout: timedelta = timedelta(seconds=60)) -> tuple[ReceivedRequest, ...]:
        """Wait until the server has received `count` requests since its start.

        Args:
            count: Number of requests.
            timeout: Maximum wait.

        Returns:
            All requests so far.

        Raises:
            TimeoutError: Fewer requests came in within the timeout.
        """
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self._requests) >= count, timeout.total_seconds()):
                raise TimeoutError(
                    f"{len(self._requests)} of {count} requests came in within {timeout.total_seconds():g} s."
                )
            return tuple(self._requests)

    @property
    def _origin(self) -> str:
        if not self._listeners:
            name = type(self).__name__
            raise CallbackSDKError(f"The {name} is not running.", hint="Use it in a with block, or call start().")
        return self._origins[0]

    def _listen(self, address: str = "127.0.0.1") -> str:
        """Open one more port, and return its origin."""
        listener = _ListeningServer(self, address)
        self._listeners.append(listener)
        return listener.origin

    def _hang_up(self, origin: str) -> None:
        """Close a port and its connections; further ones are refused."""
        for listener in [listener for listener in self._listeners if listener.origin == origin]:
            self._listeners.remove(listener)
            listener.close()

    def _expect(self: S, step: Step, times: int) -> S:
        with self._arrived:
            self._steps.extend([step] * times)
        return self

    def _refuse(self, request: ReceivedRequest) -> FaultResponse | None:
        """Reject a request by its head, before its body is read; None to accept it."""
        length = request.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            return self._failure(400, "InvalidArgument", "The Content-Length is not a number.")
        if int(length) > BODY_LIMIT:
            return self._failure(413, "EntityTooLarge", "The body is larger than tests should need.")
        return None

    def _respond_to_head(self, request: ReceivedRequest) -> FaultResponse | None:
        """Return the response if it doesn't depend on the body; None to read the body."""
        return None

    def _subject(self, request: ReceivedRequest) -> str:
        """Return the object or webhook that a request refers to, for `max_concurrent`."""
        return request.path.partition("?")[0]

    def _carry_out(self, request: ReceivedRequest) -> FaultResponse:
        """Carry out a request, and return the response."""
        raise NotImplementedError

    def _failure(self, status: int, code: str, message: str) -> FaultResponse:
        """Return an error in the format of this kind of server."""
        raise NotImplementedError

    def _next_step(self, listener: _ListeningServer) -> Step:
        with self._arrived:
            step = self._steps.popleft() if self._steps else self._schedule.next()
        # A redirected request at the second port succeeds.
        again = step.fault is Fault.REDIRECT and listener.origin != self._origins[0]
        return Step() if again else step

    def _outcome(self, step: Step, request: ReceivedRequest) -> FaultResponse:
        fault = step.fault
        if step.response is not None:
            return step.response
        if fault is Fault.ERROR:
            return self._failure(500, "InternalError", "We encountered an internal error. Please try again.")
        if fault in (Fault.SLOW_DOWN, Fault.EARLY_RESPONSE):
            return self._failure(503, "SlowDown", "Please reduce your request rate.")
        if fault is Fault.THROTTLED:
            refused = self._failure(429, "TooManyRequests", "Please wait.")
            return evolve(refused, headers={**refused.headers, "Retry-After": whole_seconds(step.retry_after)})
        if fault is Fault.REDIRECT:
            return FaultResponse(status=307, headers={"Location": self._origins[1] + request.path})
        return self._carry_out(request)

    def _record(self, request: ReceivedRequest) -> None:
        with self._arrived:
            self._requests.append(request)
            self._arrived.notify_all()

    @contextlib.contextmanager
    def _count_concurrent(self, subject: str) -> Iterator[None]:
        with self._arrived:
            self._running[subject] += 1
            self._most[subject] = max(self._most[subject], self._running[subject])
        try:
            yield
        finally:
            with self._arrived:
                self._running[subject] -= 1


class _ListeningServer(ThreadingHTTPServer):
    """One port, with its threads."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, server: RecordingServer, address: str) -> None:
        super().__init__((address, 0), _RequestHandler)
        self.owner = server
        scheme = "http" if server._tls is None else "https"
        self.origin = f"{scheme}://{address}:{self.server_address[1]}"
        self.connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in tuple(self.connections):
            with contextlib.suppress(OSError):
                # That of an `SSLSocket` removes its TLS object, which the connection's own thread may be using.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Handle a connection, in its thread."""
        if self.owner._tls is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(_SECONDS_FOR_SILENCE)
        with self.owner._tls.wrap_socket(request, server_side=True) as encrypted:
            super().finish_request(encrypted, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore disconnected clients, which some tests provoke, but print errors of the server itself."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _ResetError(OSError):
    """The connection was reset by an injected fault; ends its thread."""


class _RequestHandler(BaseHTTPRequestHandler):
    server: _ListeningServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _SECONDS_FOR_SILENCE

    def setup(self) -> None:
        self.server.connections.add(self.request)
        super().setup()

    def finish(self) -> None:
        self.server.connections.discard(self.request)
        super().finish()

    def do_GET(self) -> None:
        server = self.server.owner
        step = server._next_step(self.server)
        head = self._read_head(step)
        refused = server._refuse(head)
        if refused is None and step == Step():
            refused = server._respond_to_head(head)
        if refused is not None or step.fault in BEFORE_BODY:
            self._respond_unread(step, head, refused)
            return
        body = self._read_body()
        if body is None:
            server._record(head)
            self.close_connection = True
            return
        request = evolve(head, body=body)
        with server._count_concurrent(server._subject(request)):
            response = server._outcome(step, request)
            server._record(evolve(request, status=response.status))
            waits = step.delay and (step.response is not None or step.fault is Fault.SLOW)
            closed = waits and server._closing.wait(step.delay.total_seconds())
        if closed or step.fault is Fault.LOST_RESPONSE:
            self._reset()
        self._send(response)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _read_head(self, step: Step) -> ReceivedRequest:
        headers = MappingProxyType({name.lower(): value for name, value in self.headers.items()})
        return ReceivedRequest(
            method=self.command,
            path=self.path,
            headers=headers,
            body=b"",
            port=self.server.server_address[1],
            fault=step.fault,
        )

    def _respond_unread(self, step: Step, head: ReceivedRequest, refused: FaultResponse | None) -> None:
        server = self.server.owner
        if refused is None and step.fault is Fault.RESET:
            server._record(head)
            self._reset()
        response = refused or server._outcome(step, head)
        server._record(evolve(head, status=response.status, fault=None if refused else step.fault))
        self._send(response, last=True)
        self._linger()

    def _send(self, response: FaultResponse, *, last: bool = False) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if "content-length" not in {name.lower() for name in response.headers}:
            self.send_header("Content-Length", str(len(response.body)))
        if last or self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def _linger(self) -> None:
        # Closing a connection while data arrive resets it, and the client may lose the response (RFC 9112, section
        # 9.6).
        self.close_connection = True
        self.connection.settimeout(_LINGER)
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while self.rfile.read1(1 << 16):
                pass

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for stream in (self.rfile, self.wfile, self.connection):
            stream.close()
        self.close_connection = True
        raise _ResetError("reset on purpose")

    def handle_expect_100(self) -> bool:
        """Continue without a response: 100 is sent when the body is read."""
        return True

    def _read_body(self) -> bytes | None:
        """Return the body; None if the client disconnected before its end, or the body is too large."""
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._read_chunks()
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        return body if len(body) == length else None

    def _read_chunks(self) -> bytes | None:
        body = bytearray()
        while True:
            head = self.rfile.readline()
            if not head or len(body) > BODY_LIMIT:
                return None
            size = int(head.split(b";")[0], 16)
            body += self.rfile.read(size)
            # The last chunk is followed by optional trailers and an empty line (RFC 9112, section 7.1).
            while self.rfile.readline().strip() and not size:
                pass
            if not size:
                return bytes(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing, because the path may contain a credential."""
