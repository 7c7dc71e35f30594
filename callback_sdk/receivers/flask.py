"""Serve a receiver with Flask."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from callback_sdk.errors import BodyTooLargeError, CallbackSDKError
from callback_sdk.receivers.bodies import BoundedBody
from callback_sdk.receivers.handover import run
from callback_sdk.receivers.receiver import Endpoint
from callback_sdk.receivers.reply import Reply, refusal, unreadable


def endpoint(receiver: Endpoint, *, name: str = "receive") -> Callable[[], Response]:
    """Return a view for `app.post("/done")(...)`. It needs Flask 3.1 or later.

    Args:
        receiver: The receiver.
        name: Name of the view; that of each receiver of an application must be another one.
    """

    def receive() -> Response:
        try:
            body = _read(receiver.max_bytes)
        except CallbackSDKError as error:
            return _response(unreadable(error))
        except ClientDisconnected:
            return _response(refusal(400, "The body is incomplete."))
        return _response(run(receiver.steps(dict(request.headers), body)))

    receive.__name__ = name
    return receive


def _read(max_bytes: int) -> bytes:
    # The application's MAX_CONTENT_LENGTH is for its forms. One byte more, because Werkzeug cuts a body of unknown
    # length off at the limit, without an error.
    request.max_content_length = max_bytes + 1
    body = BoundedBody(request.content_length, max_bytes)
    try:
        # Cached, so that a body that was read before, by a hook of the application, is still there.
        body.add(request.get_data(cache=True))
    except RequestEntityTooLarge:
        raise BodyTooLargeError(max_bytes) from None
    return body.whole()


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, dict(reply.headers))
