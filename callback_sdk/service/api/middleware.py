"""Middleware of all requests: request ids, body limits, response headers, and JSON for unexpected errors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from callback_sdk.service import logs, metrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger(__name__)

_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"})

_FORMS = ("/predict", "/fit", "/predict/batch")
"""Suffixes of the paths that take a form. All other routes read the whole body before authentication."""

_PLAIN_BODY = 1024 * 1024
"""Maximum bytes of a body that is not a form."""

_DRAIN = 2.0
"""Seconds in which the rest of a rejected body is discarded: many clients read no response while they send."""

_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", b"no-store")

_STREAM = b"text/event-stream"

WAITED = "callback_sdk.waited"
"""Key of the scope of requests that waited for something else than the service."""

_SHORT_REST = 1024 * 1024
"""Maximum bytes that are discarded before the response, so that the connection can be reused."""

_PATIENCE = 30.0
"""Seconds of waiting for a client's body, in addition to the time its bytes take at the minimum rate."""

_SLOWEST = 1024
"""Minimum transfer rate of a client, in bytes per second."""

_LONG_REST = 256 * 1024 * 1024
"""Maximum bytes that are discarded after the response: closing the connection earlier could lose the response."""


class RequestMiddleware:
    """ASGI middleware around the whole application.

    Args:
        app: The application.
        max_request_bytes: Maximum bytes of a form; the limit of any other body is 1 MiB.
    """

    def __init__(self, app: ASGIApp, *, max_request_bytes: int) -> None:
        self._app = app
        self._max_request_bytes = max_request_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if len(path) > len(scope.get("root_path", "")) + 1 and path.endswith("/"):
            # Only one slash: two would mean an empty id, not the list.
            scope = {**scope, "path": path[:-1]}
        body = _RequestBody(scope, receive, self._max_request_bytes)
        answer = _SentResponse(send, uuid.uuid4().hex, body)
        logs.request_id.set(answer.request_id)
        started = time.perf_counter()
        try:
            await self._app(scope, body.receive, answer.send)
        except ClientDisconnect:
            _log.info("Request %s: the client closed the connection.", answer.request_id)
        except Exception:  # noqa: BLE001 - the client gets JSON, the log gets the traceback
            _log.exception("Request %s failed.", answer.request_id, extra={"request_id": answer.request_id})
            if not answer.started:
                await _send_error(answer)
        finally:
            _record(scope, answer, time.perf_counter() - started)


class _RequestBody:
    """The body of a request, read up to a limit."""

    def __init__(self, scope: Scope, receive: Receive, max_bytes: int) -> None:
        headers = dict(scope["headers"])
        announced = headers.get(b"content-length", b"0")
        is_form = headers.get(b"content-type", b"").lower().startswith(b"multipart/form-data")
        self._limit = max_bytes if is_form and scope["path"].endswith(_FORMS) else min(max_bytes, _PLAIN_BODY)
        self._too_long = announced.isdigit() and int(announced) > self._limit
        self._receive = receive
        self._received = 0
        # Seconds of waiting for the client, without the service's own time.
        self._waited = 0.0
        # A client that sent "Expect: 100-continue" sends no body after an error.
        self._expects_continue = b"expect" in headers
        self.more = announced != b"0" or b"transfer-encoding" in headers

    async def receive(self) -> Message:
        if self._too_long:
            raise self._refusal()
        self._expects_continue = False
        message = await self._next() if self.more else await self._receive()
        self.more = message.get("more_body", False)
        self._received += len(message.get("body", b""))
        if self._received > self._limit:
            raise self._refusal()
        return message

    async def drain(self, max_bytes: int) -> None:
        async def read() -> None:
            left = 0 if self._expects_continue else max_bytes
            while self.more and left > 0:
                message = await self._receive()
                self.more = message.get("more_body", False)
                left -= len(message.get("body", b""))

        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(read(), _DRAIN)

    async def _next(self) -> Message:
        """Wait for the next chunk, unless the client is below the minimum rate."""
        started = time.monotonic()
        left = _PATIENCE + self._received / _SLOWEST - self._waited
        with anyio.move_on_after(left):
            message = await self._receive()
            self._waited += time.monotonic() - started
            return message
        raise HTTPException(
            408,
            f"The request's body arrived too slowly: after {_PATIENCE:.0f} s the minimum is {_SLOWEST} bytes per "
            "second. Send the request again.",
        )

    def _refusal(self) -> HTTPException:
        text = f"The request's body is longer than {self._limit} bytes, the limit of the service for this path."
        return HTTPException(413, text)


class _SentResponse:
    def __init__(self, send: Send, request_id: str, body: _RequestBody) -> None:
        self._send = send
        self._body = body
        self.request_id = request_id
        self.started = False
        self.is_stream = False
        self.status = 499

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            if self.status >= 400:
                await self._body.drain(_SHORT_REST)
            self.is_stream = any(value.startswith(_STREAM) for _, value in message.get("headers", ()))
            headers = [*message.get("headers", ()), (b"x-request-id", self.request_id.encode()), _NOSNIFF]
            if all(name.lower() != b"cache-control" for name, _ in headers):
                # Tokens, tasks and results are private: no proxy or browser may store them (RFC 9111, 5.2.2.5).
                headers.append(_NO_STORE)
            if self._body.more:
                # Otherwise the server would read and discard the body without limit.
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        elif self._body.more and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._body.drain(_LONG_REST)
            message = {"type": "http.response.body"}
        await self._send(message)


def _record(scope: Scope, answer: _SentResponse, seconds: float) -> None:
    method = scope["method"] if scope["method"] in _METHODS else "other"
    metrics.HTTP_REQUESTS.labels(method, answer.status).inc()
    if not answer.is_stream and not scope.get(WAITED):
        # The duration of a stream or a long poll is that of a task, and would hide slow responses.
        metrics.HTTP_REQUEST_DURATION.labels(method).observe(seconds)
    # The path only: paths have no credentials, queries may.
    facts = {"action": "request", "method": method, "path": scope["path"], "status": answer.status}
    _log.debug("%s %s: %d in %.3f s", method, scope["path"], answer.status, seconds, extra=facts)


async def _send_error(answer: _SentResponse) -> None:
    text = f"The service failed to process this request. Its log has the reason under {answer.request_id}."
    body = json.dumps({"status": False, "error": text}).encode()
    headers: list[Any] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await answer.send({"type": "http.response.start", "status": 500, "headers": headers})
    await answer.send({"type": "http.response.body", "body": body})
