"""Methods of aiobotocore's endpoints that let requests follow redirects, without blocking the event loop.

The decisions are those for botocore (`requests.py`). What may block, which is a login, the cluster's map and a pause,
runs in a thread; requests are sent by the event loop.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import io
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MethodType
from typing import Any, TypeVar

import urllib3
from attrs import define

from callback_sdk.aistore.endpoints import (
    METHODS,
    FollowerOf,
    Method,
    followed_in,
    followed_of,
    make_request_method,
    mark_request,
)
from callback_sdk.concurrency.forking import PerProcess
from callback_sdk.errors import ConfigurationError

T = TypeVar("T")

_NATIVE_API_SECONDS = 60.0
"""Maximum time for a request to the native API: a thread must not wait for an event loop that has ended."""

# Not the threads of the event loop: those resolve host names for the requests that these wait for.
_threads = PerProcess(lambda: ThreadPoolExecutor(32, "callback-sdk-aistore"))


def is_async(endpoint: Any) -> bool:
    """Tell whether an endpoint is one of aiobotocore."""
    return inspect.iscoroutinefunction(type(endpoint)._send)


def follow_async(endpoint: Any, follower_of: FollowerOf) -> None:
    """Let the requests of an endpoint of aiobotocore follow redirects.

    Raises:
        ConfigurationError: It doesn't send its requests with aiohttp.
    """
    _return_redirects(endpoint.http_session)
    for name in METHODS:
        original = getattr(type(endpoint), name)
        setattr(endpoint, name, MethodType(functools.wraps(original)(_MAKERS[name](original, follower_of)), endpoint))


def _return_redirects(session: Any) -> None:
    """Let an HTTP session return redirects. aiohttp follows ten by itself, to any host, and changes POST to GET."""
    get_session = getattr(session, "_get_session", None)
    if get_session is None:
        raise ConfigurationError(
            f"The client sends its requests with {type(session).__name__}.",
            hint="Leave http_session_cls out of its AioConfig: the default, aiohttp, is supported.",
        )
    if not isinstance(get_session, _GetSession):
        session._get_session = _GetSession(get_session)


@define(frozen=True)
class _GetSession:
    """Returns the session of aiohttp for a proxy."""

    original: Callable[..., Any]

    async def __call__(self, *arguments: Any) -> Any:
        return _WithoutRedirects(await self.original(*arguments))


@define(frozen=True)
class _WithoutRedirects:
    """A session of aiohttp that returns redirects."""

    session: Any

    def request(self, *arguments: Any, **options: Any) -> Any:
        return self.session.request(*arguments, **options, allow_redirects=False)


async def _in_thread(call: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(_threads.get(), functools.partial(call, *arguments))


def _create_request(original: Method, follower_of: FollowerOf) -> Method:
    async def create_request(self: Any, params: dict[str, Any], operation_model: Any = None) -> Any:
        return mark_request(await original(self, params, operation_model), params["context"], follower_of)

    return create_request


def _send(original: Method, follower_of: FollowerOf) -> Method:
    async def send(self: Any, request: Any) -> Any:
        followed = followed_of(request, follower_of)
        if followed is not None:
            bearer = followed.follower.bearer
            if bearer is not None and bearer.is_renewable:
                await _in_thread(followed.follower.authorize, request, followed.history)
            else:
                followed.follower.authorize(request, followed.history)
        return await original(self, request)

    return send


def _needs_retry(original: Method, follower_of: FollowerOf) -> Method:
    async def needs_retry(
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
            if response is None or response[0].status_code >= 300:
                session = _BlockingSession(self.http_session, asyncio.get_running_loop())
                known = (request_dict, history, _as_botocores(response), caught_exception, session)
                if await _in_thread(followed.follower.needs_retry, *known):
                    return True
            attempts -= history.resent
        return await original(self, attempts, operation_model, request_dict, response, caught_exception)

    return needs_retry


@define(frozen=True)
class _Head:
    """Status and headers of a response."""

    status_code: int
    headers: Mapping[str, str]


def _as_botocores(response: Any) -> Any:
    """Return a response with its headers as Latin-1, as botocore has them; aiobotocore decodes them as UTF-8."""
    if response is None:
        return None
    headers = {name: value.encode().decode("latin-1") for name, value in response[0].headers.items()}
    return _Head(response[0].status_code, headers), response[1]


@define(frozen=True)
class _Answer:
    """A response with a body that is read as botocore's."""

    status_code: int
    raw: urllib3.HTTPResponse


@define(frozen=True)
class _BlockingSession:
    """The HTTP session of aiobotocore for a thread, as botocore's."""

    session: Any
    loop: asyncio.AbstractEventLoop

    def send(self, request: Any) -> _Answer:
        """Let the event loop send a request, and wait for the response."""
        answer = asyncio.run_coroutine_threadsafe(self._send(request), self.loop)
        try:
            return answer.result(_NATIVE_API_SECONDS)
        finally:
            answer.cancel()

    async def _send(self, request: Any) -> _Answer:
        response = await self.session.send(request)
        body = io.BytesIO(await response.content)
        return _Answer(response.status_code, urllib3.HTTPResponse(body, preload_content=False))


_MAKERS = {
    "make_request": make_request_method,
    "create_request": _create_request,
    "_send": _send,
    "_needs_retry": _needs_retry,
}
