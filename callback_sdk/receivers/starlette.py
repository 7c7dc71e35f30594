"""Serve a receiver with Starlette or FastAPI."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from callback_sdk.errors import CallbackSDKError
from callback_sdk.receivers.bodies import BoundedBody
from callback_sdk.receivers.handover import Steps
from callback_sdk.receivers.receiver import Endpoint
from callback_sdk.receivers.reply import Reply, refusal, unreadable


def endpoint(receiver: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """Return a function for `Route`, `add_route` or FastAPI's `post`.

    Handlers may be coroutine functions. Others run in threads.

    Args:
        receiver: The receiver.
    """

    async def receive(request: Request) -> Response:
        try:
            body = await _read(request, receiver.max_bytes)
        except CallbackSDKError as error:
            return _response(unreadable(error))
        except ClientDisconnect:
            return _response(refusal(400, "The body is incomplete."))
        # A delivery that has begun is handled to its end, and recorded, even if the sender doesn't wait for it.
        with anyio.CancelScope(shield=True):
            reply = await _run(receiver.steps(request.headers, body))
        return _response(reply)

    return receive


async def _read(request: Request, max_bytes: int) -> bytes:
    body = BoundedBody(request.headers.get("content-length"), max_bytes)
    async for chunk in request.stream():
        body.add(chunk)
    return body.whole()


async def _run(steps: Steps[Reply]) -> Reply:
    try:
        call = next(steps)
        while True:
            try:
                value = await _result_of(call)
            except BaseException as error:  # noqa: BLE001, PERF203 - the steps decide, and are few
                call = steps.throw(error)
            else:
                call = steps.send(value)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def _result_of(call: Callable[[], Any]) -> Any:
    value = await run_in_threadpool(call)
    return await value if inspect.isawaitable(value) else value


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, dict(reply.headers))
