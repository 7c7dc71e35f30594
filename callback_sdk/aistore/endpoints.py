"""Methods of botocore's endpoints that let requests follow redirects.

No event does all of it. A handler of `before-send` that a user registers may run after ours and add a token, and
handlers of `needs-retry` get the number of attempts with those that redirects have taken. `_needs_retry` also runs
before botocore's own redirector (`S3RegionRedirectorv2`), which reads the context that this one sets.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field

from callback_sdk.aistore.requests import RedirectFollower, RequestHistory

Method = Callable[..., Any]

FollowerOf = Callable[[Any, Any], RedirectFollower | None]
"""Returns the redirect follower for an endpoint and an operation; None if redirects of it are not followed."""

_MARK = "callback_sdk.aistore"
"""Key of a `RedirectedRequest` in the context of a request."""

_ATTRIBUTE = "_callback_sdk_followed"
"""Attribute with it of the prepared request, which has no context in botocore 1.36."""


@define
class RedirectedRequest:
    """A request whose redirects are followed.

    Attributes:
        follower: Follows them.
        found_by: The function that found the follower. Only the methods that have the same one handle the request: both
            those of a client and the patched ones may be called.
        history: What has become of the request so far.
    """

    follower: RedirectFollower
    found_by: FollowerOf
    history: RequestHistory = field(factory=RequestHistory)


def redirecting_methods(original: Mapping[str, Method], follower_of: FollowerOf) -> dict[str, Method]:
    """Return methods for an endpoint that follow redirects, by name.

    Args:
        original: Its methods with the names in `METHODS`, unbound.
        follower_of: Returns the redirect follower for an endpoint and an operation.
    """
    return {name: functools.wraps(original[name])(make(original[name], follower_of)) for name, make in _MAKERS.items()}


def begin(endpoint: Any, operation_model: Any, request_dict: dict[str, Any], follower_of: FollowerOf) -> None:
    """Prepare a new request whose redirects are followed, and keep its history in its context."""
    context = request_dict["context"]
    follower = None if _MARK in context else follower_of(endpoint, operation_model)
    if follower is not None:
        context[_MARK] = RedirectedRequest(follower, follower_of)
        follower.prepare(request_dict)


def mark_request(request: Any, context: Mapping[str, Any], follower_of: FollowerOf) -> Any:
    """Return a prepared request, with what its context has."""
    followed = followed_in(context, follower_of)
    if followed is not None:
        setattr(request, _ATTRIBUTE, followed)
    return request


def followed_in(context: Mapping[str, Any], follower_of: FollowerOf) -> RedirectedRequest | None:
    """Return what the context of a request has; None if its redirects are not followed by these methods."""
    followed: RedirectedRequest | None = context.get(_MARK)
    return followed if followed is not None and followed.found_by is follower_of else None


def followed_of(request: Any, follower_of: FollowerOf) -> RedirectedRequest | None:
    """Return the same of a prepared request."""
    followed: RedirectedRequest | None = getattr(request, _ATTRIBUTE, None)
    return followed if followed is not None and followed.found_by is follower_of else None


def make_request_method(original: Method, follower_of: FollowerOf) -> Method:
    """Return `Endpoint.make_request`, also of aiobotocore, where it returns a coroutine."""

    def make_request(self: Any, operation_model: Any, request_dict: dict[str, Any]) -> Any:
        begin(self, operation_model, request_dict, follower_of)
        return original(self, operation_model, request_dict)

    return make_request


def _create_request(original: Method, follower_of: FollowerOf) -> Method:
    def create_request(self: Any, params: dict[str, Any], operation_model: Any = None) -> Any:
        return mark_request(original(self, params, operation_model), params["context"], follower_of)

    return create_request


def _send(original: Method, follower_of: FollowerOf) -> Method:
    def send(self: Any, request: Any) -> Any:
        followed = followed_of(request, follower_of)
        if followed is not None:
            followed.follower.authorize(request, followed.history)
        return original(self, request)

    return send


def _needs_retry(original: Method, follower_of: FollowerOf) -> Method:
    def needs_retry(
        self: Any,
        attempts: int,
        operation_model: Any,
        request_dict: dict[str, Any],
        response: Any = None,
        caught_exception: Exception | None = None,
    ) -> Any:
        followed = followed_in(request_dict["context"], follower_of)
        if followed is not None:
            history = followed.history
            if followed.follower.needs_retry(request_dict, history, response, caught_exception, self.http_session):
                return True
            attempts -= history.resent
        return original(self, attempts, operation_model, request_dict, response, caught_exception)

    return needs_retry


_MAKERS = {
    "make_request": make_request_method,
    "create_request": _create_request,
    "_send": _send,
    "_needs_retry": _needs_retry,
}

METHODS = tuple(_MAKERS)
"""Names of the methods of `botocore.endpoint.Endpoint`."""
