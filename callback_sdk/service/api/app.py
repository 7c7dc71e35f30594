"""The REST API as one ASGI application."""

from __future__ import annotations

from fastapi import FastAPI

from callback_sdk._version import __version__
from callback_sdk.service.access.users import Doorkeeper
from callback_sdk.service.algorithms.catalogue import Catalogue
from callback_sdk.service.api import algorithms, errors, tasks, tokens
from callback_sdk.service.api import health as operations
from callback_sdk.service.api.access import Face, Limits, Quota
from callback_sdk.service.api.logins import LogIns
from callback_sdk.service.api.middleware import Shell
from callback_sdk.service.api.readiness import Readiness
from callback_sdk.service.api.submission import Rules
from callback_sdk.service.core import Hub
from callback_sdk.targets import Settings
from callback_sdk.targets.providers import Stores


def create_app(hub: Hub, *, limits: Limits) -> FastAPI:
    """Make the ASGI application. Its OpenAPI document is at `/openapi.json`.

    Args:
        hub: What does the work. Whoever makes the application starts and closes it.
        limits: What one request, or one user, may ask for.

    Raises:
        ConfigurationError: A storage endpoint is no URL.
    """
    app = FastAPI(title="callback_sdk", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    reach = hub.parts.reach
    rules = Rules(
        catalogue=Catalogue(hub.registry, hub.store.versions),
        settings=Settings(stores=Stores.of(reach.storage_endpoints)),
        guard=reach.guard,
        max_callbacks=limits.max_callbacks,
    )
    doorkeeper = Doorkeeper(hub.store.users, hub.store.sessions, hub.parts.vault)
    app.state.face = Face(
        hub=hub,
        rules=rules,
        limits=limits,
        quota=Quota(hub.store, limits.max_tasks),
        doorkeeper=doorkeeper,
        logins=LogIns(doorkeeper),
    )
    app.state.readiness = Readiness(hub.check)
    # Tasks come before algorithms, one of which could otherwise be named "tasks".
    for routes in (tokens, tasks, algorithms, operations):
        app.include_router(routes.router)
    errors.install(app)
    app.add_middleware(Shell, max_body=limits.max_body)
    return app
