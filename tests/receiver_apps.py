"""Receivers in real frameworks and servers, as processes: `receiver_apps.py KIND`, in the folder of the files below.

The handler appends the job's id to `handled`. It raises while there is a file `fail`, and waits while there is a file
`hold`. The server prints its port as the examples do.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from callback_sdk.receivers import ReceivedEvent, ReceivedResult, Receiver

MAX_BYTES = 64 * 1024


def handle(result: ReceivedResult) -> None:
    """Handle a result as the files say."""
    if Path("fail").exists():
        raise RuntimeError("the handler fails")
    Path("holding").touch()
    while Path("hold").exists():
        time.sleep(0.01)
    with Path("handled").open("a") as file:
        file.write(f"{result.job_id}\n")


async def handle_async(result: ReceivedResult) -> None:
    """Handle a result on the event loop, as the files say."""
    if Path("fail").exists():
        raise RuntimeError("the handler fails")
    Path("holding").touch()
    while Path("hold").exists():
        await asyncio.sleep(0.01)
    with Path("handled").open("a") as file:
        file.write(f"{result.job_id}\n")


def on_event(event: ReceivedEvent) -> None:
    """Note the sequence number of an event."""
    with Path("events").open("a") as file:
        file.write(f"{event.sequence}\n")


def receiver(handler: Callable[[ReceivedResult], Any] = handle) -> Receiver:
    """Return a receiver with the secrets of the environment."""
    secrets = os.environ["WEBHOOK_SECRETS"].split()
    return Receiver(handler, secrets=secrets, on_event=on_event, max_bytes=MAX_BYTES)


def _starlette() -> Any:
    from starlette.applications import Starlette
    from starlette.routing import Route

    from callback_sdk.receivers.starlette import endpoint

    return Starlette(routes=[Route("/done", endpoint(receiver()), methods=["POST"])])


def _fastapi() -> Any:
    from fastapi import FastAPI

    from callback_sdk.receivers.starlette import endpoint

    app = FastAPI()
    app.post("/done")(endpoint(receiver(handle_async)))
    return app


def _flask() -> Any:
    from flask import Flask, request

    from callback_sdk.receivers.flask import endpoint

    app = Flask("receiver")
    # A smaller limit for the forms of the application, and a hook that reads each body.
    app.config["MAX_CONTENT_LENGTH"] = 1000
    app.post("/done")(endpoint(receiver(), name="done"))
    app.before_request(lambda: None if request.path != "/hooked" else request.get_data() and None)
    return app


def _django() -> Any:
    from django.conf import settings
    from django.urls import path

    from callback_sdk.receivers.django import endpoint

    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATA_UPLOAD_MAX_MEMORY_SIZE=1000,
        MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
        ROOT_URLCONF=type("urls", (), {"urlpatterns": [path("done", endpoint(receiver()))]}),
        SECRET_KEY="x" * 50,
    )


def _django_wsgi() -> Any:
    from django.core.wsgi import get_wsgi_application

    _django()
    return get_wsgi_application()


def _django_asgi() -> Any:
    from django.core.asgi import get_asgi_application

    _django()
    return get_asgi_application()


def _serve_asgi(app: Any) -> None:
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    sys.stderr.write(f"listening on port {listener.getsockname()[1]}\n")
    uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning")).run(sockets=[listener])


def _serve_wsgi(app: Any) -> None:
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True)
    sys.stderr.write(f"listening on port {server.server_port}\n")
    server.serve_forever()


KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "starlette": (_starlette, _serve_asgi),
    "fastapi": (_fastapi, _serve_asgi),
    "flask": (_flask, _serve_wsgi),
    "django-wsgi": (_django_wsgi, _serve_wsgi),
    "django-asgi": (_django_asgi, _serve_asgi),
}

if __name__ == "__main__":
    make, serve = KINDS[sys.argv[1]]
    serve(make())
