"""The ASGI application of the web UI and the REST API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.api.access import AppState
from callback_sdk.service.api.errors import STATUSES
from callback_sdk.service.api.readiness import Readiness
from callback_sdk.service.pages import algorithms, deliveries, health, hosts, logins, operations, outputs, tasks
from callback_sdk.service.pages.auth import LoginRequiredError, log_in_first
from callback_sdk.service.pages.reference import add_reference
from callback_sdk.service.pages.rendering import PREFIX, prefix_of, render
from callback_sdk.service.pages.sessions import Sessions

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# No resources of other hosts, no inline scripts or styles, no embedding in frames.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    b"content-security-policy": _POLICY.encode(),
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
}


def add_pages(app: FastAPI) -> FastAPI:
    """Combine the web UI with the REST API, whose components it uses, and return both as one application."""
    app.mount(PREFIX, _pages(app.state.app_state, app.state.readiness))
    for path in ("/", PREFIX):
        app.add_route(path, _home)
    add_reference(app)
    return app


def _pages(state: AppState, readiness: Readiness) -> Starlette:
    app = Starlette(
        routes=[
            Route("/login", logins.log_in_form, methods=["GET"]),
            Route("/login", logins.log_in, methods=["POST"]),
            Route("/logout", logins.log_out, methods=["POST"]),
            Route("/overview", operations.overview),
            Route("/tasks", tasks.tasks),
            Route("/tasks/cancel", tasks.cancel_several, methods=["POST"]),
            Route("/tasks/{job_id}", tasks.task),
            Route("/tasks/{job_id}/events", tasks.events),
            Route("/tasks/{job_id}/results", tasks.results),
            Route("/tasks/{job_id}/outputs/{name:path}", outputs.download),
            Route("/tasks/{job_id}/preview/{name:path}", outputs.show),
            Route("/tasks/{job_id}/image/{name:path}", outputs.image),
            Route("/tasks/{job_id}/cancel", tasks.ask_to_cancel, methods=["GET"]),
            Route("/tasks/{job_id}/cancel", tasks.cancel, methods=["POST"]),
            Route("/tasks/{job_id}/deliveries/{delivery_id}/redeliver", deliveries.redeliver, methods=["POST"]),
            Route("/deliveries", deliveries.deliveries),
            Route("/deliveries/redeliver", deliveries.redeliver_several, methods=["POST"]),
            Route("/algorithms", algorithms.algorithms),
            Route("/algorithms/{name}", algorithms.algorithm),
            Route("/algorithms/{name}/graph", algorithms.graph),
            Route("/algorithms/{name}/template", algorithms.template),
            Route("/algorithms/{name}/pause", algorithms.pause, methods=["POST"]),
            Route("/algorithms/{name}/resume", algorithms.resume, methods=["POST"]),
            Route("/health", health.health),
            Route("/hosts", hosts.show),
            Route("/hosts/pause", hosts.pause, methods=["POST"]),
            Route("/hosts/resume", hosts.resume, methods=["POST"]),
            Route("/hosts/limit", hosts.limit, methods=["POST"]),
            Route("/audit", operations.audit),
            Mount("/static", StaticFiles(packages=[(__package__, "static")])),
        ],
        middleware=[Middleware(_Headers)],
        exception_handlers={
            HTTPException: _problem,
            LoginRequiredError: log_in_first,
            **dict.fromkeys(STATUSES, _package_error),
            Exception: _fault,
        },
    )
    app.state.app_state = state
    app.state.readiness = readiness
    store, keys = state.task_service.store, state.task_service.runtime.cipher.derive("pages")
    app.state.sessions = Sessions(state.authenticator, store.users, store.sessions, keys)
    return app


class _Headers:
    """ASGI middleware that sets the security headers of pages."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Before the router changes the root path.
        is_static = scope["path"].startswith(f"{scope['root_path']}/static/")
        caching = b"max-age=3600" if is_static else b"no-store"

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.get("headers", ())
                has_caching = any(name.lower() == b"cache-control" for name, _ in given)
                headers = [*given, *_HEADERS.items(), *(() if has_caching else ((b"cache-control", caching),))]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, with_headers)


async def _home(request: Request) -> Response:
    return RedirectResponse(f"{prefix_of(request)}/overview", 303)


async def _problem(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return render(request, "problem.html", status=error.status_code, text=error.detail)


async def _package_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, CallbackSDKError):
        raise error
    status = next(status for kind, status in STATUSES.items() if isinstance(error, kind))
    return render(request, "problem.html", status=status, text=str(error))


async def _fault(request: Request, _: Exception) -> Response:
    # The outermost handler of the web UI; the middleware of the REST API logs the traceback.
    answer = render(
        request, "problem.html", status=500, text="The service failed to process this request. Its log has the reason."
    )
    answer.raw_headers.extend(_HEADERS.items())
    return answer
