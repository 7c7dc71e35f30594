"""The middleware: time limits of bodies, and headers of all responses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from callback_sdk.service.api import middleware
from callback_sdk.service.api.middleware import RequestMiddleware


def request(*pieces: bytes, length: int, app: Any) -> list[dict[str, Any]]:
    """Send a request with a body shorter than its Content-Length, and return the messages of the response."""
    sent: list[dict[str, Any]] = []
    waiting: Iterator[bytes] = iter(pieces)

    async def receive() -> Any:
        piece = next(waiting, None)
        if piece is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": piece, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", str(length).encode())]
    scope = {"type": "http", "method": "POST", "path": "/api/v2/token", "headers": headers}
    asyncio.run(RequestMiddleware(app, max_request_bytes=1000)(scope, receive, send))
    return sent


async def reader(scope: Any, receive: Any, send: Any) -> None:
    """Read the body, as an application does that answers errors itself."""
    status = 200
    try:
        while (await receive()).get("more_body"):
            pass
    except middleware.HTTPException as error:
        status = error.status_code
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_a_body_that_stops_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends a part of its body and stays gets a 408, and the connection ends with it."""
    monkeypatch.setattr(middleware, "_PATIENCE", 0.05)
    monkeypatch.setattr(middleware, "_DRAIN", 0.05)
    start, *_ = request(b"a", b"b", length=10, app=reader)
    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]


def test_only_waiting_for_the_client_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow service doesn't reject requests."""
    now = 1000.0
    # For this module alone: the event loop has its own use for the clock.
    clock = SimpleNamespace(monotonic=lambda: now, perf_counter=lambda: now)
    monkeypatch.setattr(middleware, "time", clock)

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        nonlocal now
        for _ in range(3):
            now += 3600
            assert (await receive())["type"] == "http.request"
        await send({"type": "http.response.start", "status": 204, "headers": [(b"cache-control", b"max-age=1")]})
        await send({"type": "http.response.body", "body": b""})

    monkeypatch.setattr(middleware, "_DRAIN", 0.05)
    start, *_ = request(b"a", b"b", b"c", length=10, app=slow)
    assert start["status"] == 204
    assert (b"cache-control", b"no-store") not in start["headers"]


def test_every_response_has_nosniff_and_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Including the response to an unexpected error."""
    monkeypatch.setattr(middleware, "_DRAIN", 0.05)

    async def fails(*_: Any) -> None:
        raise ZeroDivisionError

    start, *_ = request(length=0, app=fails)
    assert start["status"] == 500
    assert {(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")} <= set(start["headers"])
