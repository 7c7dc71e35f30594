"""The REST API as one ASGI application."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from callback_sdk._version import __version__
from callback_sdk.service.access.audit import AuditLog
from callback_sdk.service.access.users import Authenticator
from callback_sdk.service.algorithms.catalogue import AlgorithmCatalog
from callback_sdk.service.api import (
    algorithms,
    audit,
    deliveries,
    errors,
    events,
    health,
    hosts,
    logs,
    outputs,
    signing_secrets,
    tasks,
    tokens,
    workers,
)
from callback_sdk.service.api.access import AppState, Quota, ServiceLimits
from callback_sdk.service.api.event_streams import EventStreams
from callback_sdk.service.api.lifetimes import QueueEstimate
from callback_sdk.service.api.logins import LoginQueue
from callback_sdk.service.api.long_polls import LongPolls
from callback_sdk.service.api.middleware import RequestMiddleware
from callback_sdk.service.api.readiness import Readiness
from callback_sdk.service.api.submission import Rules
from callback_sdk.service.api.waiters import Waiters
from callback_sdk.service.api.watches import Watches
from callback_sdk.service.core import TaskService
from callback_sdk.targets import TargetSettings


async def _openapi(request: Request) -> Response:
    return JSONResponse(openapi_document(request.app, request.scope.get("root_path", "")))


def openapi_document(app: FastAPI, prefix: str) -> dict[str, Any]:
    """Return the OpenAPI document, with the path prefix at which a reverse proxy publishes the API."""
    return {**app.openapi(), **({"servers": [{"url": prefix}]} if prefix else {})}


def create_app(task_service: TaskService, *, limits: ServiceLimits) -> FastAPI:
    """Create the ASGI application. Its OpenAPI document is at `/openapi.json`.

    Args:
        task_service: The application layer. The caller starts and closes it.
        limits: Limits per request and per user.

    Raises:
        ConfigurationError: A storage endpoint is not a URL.
    """
    # With its own route for the document: earlier versions of FastAPI keep the path prefixes of all requests in it.
    app = FastAPI(title="callback_sdk", version=__version__, openapi_url=None, docs_url=None, redirect_slashes=False)
    app.add_route("/openapi.json", _openapi, include_in_schema=False)
    delivery = task_service.runtime.delivery
    rules = Rules(
        catalogue=AlgorithmCatalog(task_service.registry, task_service.store.versions),
        settings=TargetSettings(stores=delivery.stores),
        guard=delivery.guard,
        max_callbacks=limits.max_callbacks,
        queue=QueueEstimate(task_service.store.stats.backlog),
        bucket=delivery.bucket,
    )
    store = task_service.store
    log = AuditLog(store.audit)
    watches, waiters = Watches(store), Waiters(limits.max_waiters)
    authenticator = Authenticator(store.users, store.sessions, task_service.runtime.cipher, log)
    app.state.app_state = AppState(
        task_service=task_service,
        rules=rules,
        limits=limits,
        quota=Quota(task_service.store, limits.max_tasks),
        authenticator=authenticator,
        logins=LoginQueue(authenticator, log),
        audit=log,
        watches=watches,
        polls=LongPolls(watches, waiters),
        events=EventStreams(store, watches, waiters),
    )
    app.state.readiness = Readiness(task_service.check)
    # The task routes come first, as an algorithm named "tasks" would shadow them, and the events of all tasks before
    # those of one.
    user_routes = (tokens, signing_secrets, events, tasks, logs, outputs, algorithms, deliveries)
    for routes in (*user_routes, workers, hosts, audit, health):
        app.include_router(routes.router)
    errors.install(app)
    app.add_middleware(RequestMiddleware, max_request_bytes=limits.max_request_bytes)
    return app
