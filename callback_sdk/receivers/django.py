"""Serve a receiver with Django."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from callback_sdk.errors import CallbackSDKError
from callback_sdk.receivers.bodies import read_bounded
from callback_sdk.receivers.handover import run
from callback_sdk.receivers.receiver import Endpoint
from callback_sdk.receivers.reply import Reply, refusal, unreadable


def endpoint(receiver: Endpoint) -> Callable[[HttpRequest], HttpResponse]:
    """Return a view for `path("done", ...)`, without protection against CSRF, which is for forms of browsers.

    The limit is that of the receiver, and not `DATA_UPLOAD_MAX_MEMORY_SIZE`, which is for forms.

    Args:
        receiver: The receiver.
    """

    def receive(request: HttpRequest) -> HttpResponse:
        try:
            body = read_bounded(request.read, request.META.get("CONTENT_LENGTH"), receiver.max_bytes)
        except CallbackSDKError as error:
            return _response(unreadable(error))
        except UnreadablePostError:
            return _response(refusal(400, "The body is incomplete."))
        # Otherwise a middleware that logs `request.body` after the view would turn each response into an error.
        request._body = body
        return _response(run(receiver.steps(request.headers, body)))

    return csrf_exempt(require_POST(receive))  # type: ignore[no-any-return]


def _response(reply: Reply) -> HttpResponse:
    return HttpResponse(reply.body, status=reply.status, headers=dict(reply.headers))
