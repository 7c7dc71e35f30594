"""Hooks and middlewares of applications that read the body before or after a receiver."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import anyio
import django
import pytest
from django.conf import settings
from django.test import Client, override_settings
from django.urls import path
from flask import Flask, request
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Route

from callback_sdk.receivers import MemoryIds, ReceivedResult, Receiver
from callback_sdk.receivers import django as for_django
from callback_sdk.receivers import flask as for_flask
from callback_sdk.receivers import starlette as for_starlette
from tests.unit.receivers.test_receiver import BODY, SECRET, signed


def receiver() -> Receiver:
    return Receiver(lambda result: None, secrets=SECRET)


async def ask(app: Any, headers: dict[str, str], *messages: dict[str, Any]) -> int:
    """Send a request to an ASGI application, and return the status of its response."""
    pending, status = list(messages), 0

    async def receive() -> dict[str, Any]:
        return pending.pop(0) if pending else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)

    pairs = [(name.encode(), value.encode()) for name, value in {"content-type": "text/plain", **headers}.items()]
    scope = {"type": "http", "method": "POST", "path": "/done", "query_string": b"", "headers": pairs}
    await app(scope, receive, send)
    return status


HOOKS: dict[str, tuple[Callable[[], object], int]] = {
    "form": (lambda: request.form, 200),
    "values": (lambda: request.values, 200),
    "json": (lambda: request.get_json(), 200),
    "data": (lambda: request.data, 200),
    "cached": (lambda: request.get_data(), 200),
    "not cached": (lambda: request.get_data(cache=False), 500),
    "stream": (lambda: request.stream.read(10), 500),
}


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_of_flask_may_read_the_body(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing of it is left, the sender has to try again, and the log says why."""
    hook, status = HOOKS[name]
    app = Flask("app")
    app.before_request(lambda: (hook(), None)[1])
    app.post("/done")(for_flask.endpoint(receiver()))
    response = app.test_client().post("/done", data=BODY, headers=signed(), content_type="application/json")
    assert response.status_code == status
    assert ("a hook or a middleware has read the body before" in caplog.text) == (status == 500)


def test_an_application_of_flask_may_have_several_receivers() -> None:
    """Each view has another name."""
    app = Flask("app")
    app.post("/a")(for_flask.endpoint(receiver(), name="a"))
    app.post("/b")(for_flask.endpoint(receiver(), name="b"))
    client = app.test_client()
    assert [client.post(path, data=BODY, headers=signed()).status_code for path in ("/a", "/b")] == [200, 200]


class Before:
    """Reads the body before the view."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, given: Any) -> Any:
        assert given.body == BODY
        return self.get_response(given)


class Form(Before):
    """Reads a form before the view."""

    def __call__(self, given: Any) -> Any:
        assert not given.POST
        return self.get_response(given)


class After(Before):
    """Reads the body after the view, to log it."""

    def __call__(self, given: Any) -> Any:
        response = self.get_response(given)
        assert given.body == BODY
        return response


class Stream(Before):
    """Reads the request's stream before the view."""

    def __call__(self, given: Any) -> Any:
        given.read()
        return self.get_response(given)


@pytest.fixture(scope="module")
def urls() -> str:
    """Set Django up, and return the name of a module with a URL."""
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="x" * 50)
        django.setup()
    module = ModuleType("callback_sdk_test_urls")
    module.urlpatterns = [path("done", for_django.endpoint(receiver()))]  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    return module.__name__


@pytest.mark.parametrize(("middleware", "status"), [(Before, 200), (Form, 200), (After, 200), (Stream, 500)])
def test_middlewares_of_django_may_read_the_body(urls: str, middleware: type, status: int) -> None:
    """Also after the view: otherwise each response would become an error, and the sender would try again."""
    headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in signed().items()}
    sys.modules["callback_sdk_test_middleware"] = module = ModuleType("callback_sdk_test_middleware")
    module.Middleware = middleware  # type: ignore[attr-defined]
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=["callback_sdk_test_middleware.Middleware"]):
        response = Client().post("/done", BODY, content_type="application/json", **headers)
    assert response.status_code == status


@pytest.mark.parametrize("reads", ["body", "json"])
def test_middlewares_of_starlette_may_read_the_body(reads: str) -> None:
    """Starlette keeps it for the endpoint."""

    async def dispatch(given: Any, call_next: Any) -> Any:
        await getattr(given, reads)()
        return await call_next(given)

    app = Starlette(
        routes=[Route("/done", for_starlette.endpoint(receiver()), methods=["POST"])],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)],
    )
    assert asyncio.run(ask(app, signed(), {"type": "http.request", "body": BODY})) == 200


def test_a_sender_that_disconnects_gets_nothing_handled() -> None:
    """Its body is incomplete."""
    app = Starlette(routes=[Route("/done", for_starlette.endpoint(receiver()), methods=["POST"])])
    messages = [{"type": "http.request", "body": BODY[:5], "more_body": True}, {"type": "http.disconnect"}]
    assert asyncio.run(ask(app, signed(), *messages)) == 400


def test_a_delivery_that_has_begun_is_handled_to_its_end() -> None:
    """A scope of anyio that is canceled, as some middlewares do when the sender disconnects, doesn't interrupt it."""
    found: list[str] = []

    async def handle(result: ReceivedResult) -> None:
        scope.cancel()
        await anyio.sleep(0)
        found.append(result.job_id)

    ids = MemoryIds()
    route = for_starlette.endpoint(Receiver(handle, secrets=SECRET, ids=ids))
    app = Starlette(routes=[Route("/done", route, methods=["POST"])])

    async def run() -> None:
        nonlocal scope
        with anyio.CancelScope() as scope:
            await ask(app, signed(), {"type": "http.request", "body": BODY})

    scope: anyio.CancelScope
    anyio.run(run)
    assert found == ["42"]
    again = Receiver(lambda result: found.append("again"), secrets=SECRET, ids=ids)
    assert again.receive(signed(), BODY).status == 200
    assert found == ["42"]
