"""What surrounds every request: an id, a limit on its body, and JSON for an error that nobody expected."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger(__name__)

_DRAIN = 2.0
"""Seconds in which the rest of a body too long is read away: who still sends reads no answer."""


class Shell:
    """ASGI middleware around the whole application.

    Args:
        app: The application.
        max_body: Bytes that a request's body may have.
    """

    def __init__(self, app: ASGIApp, *, max_body: int) -> None:
        self._app = app
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if len(path) > 1 and path.endswith("/"):
            scope = {**scope, "path": path.rstrip("/") or "/"}
        answer = _Answer(send, uuid.uuid4().hex)
        try:
            await self._app(scope, _limited(scope, receive, self._max_body), answer.send)
        except ClientDisconnect:
            _log.info("Request %s was broken off by the client.", answer.request_id)
        except Exception:  # noqa: BLE001 - the client gets JSON, the log the reason
            _log.exception("Request %s failed.", answer.request_id, extra={"request_id": answer.request_id})
            if not answer.started:
                await _send_error(answer)


class _Answer:
    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = [*message.get("headers", ()), (b"x-request-id", self.request_id.encode())]
            message = {**message, "headers": headers}
        await self._send(message)


def _limited(scope: Scope, receive: Receive, limit: int) -> Receive:
    announced = dict(scope["headers"]).get(b"content-length", b"0")
    too_long = announced.isdigit() and int(announced) > limit
    received = 0

    async def receive_some() -> Message:
        nonlocal received
        if too_long:
            raise await _refuse(receive, limit)
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise await _refuse(receive, limit)
        return message

    return receive_some


async def _refuse(receive: Receive, limit: int) -> HTTPException:
    async def drain() -> None:
        while (await receive()).get("more_body", False):
            pass

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(drain(), _DRAIN)
    text = f"The request's body is longer than {limit} bytes, which is all that this service takes."
    return HTTPException(413, text, headers={"Connection": "close"})


async def _send_error(answer: _Answer) -> None:
    text = f"The service failed at this request. The reason is in its log under {answer.request_id}."
    body = json.dumps({"status": False, "error": text}).encode()
    headers: list[Any] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await answer.send({"type": "http.response.start", "status": 500, "headers": headers})
    await answer.send({"type": "http.response.body", "body": body})
