"""The REST API, compatible with AI Core v2."""

from __future__ import annotations

import http
from collections.abc import Iterable
from typing import Any

import orjson
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as AnyHTTPException

from callback_sdk.errors import (
    CallbackSDKError,
    FeaturesError,
    MissingExtraError,
    TargetError,
    UnknownAlgorithmError,
)
from callback_sdk.guard import AddressGuard
from callback_sdk.models import CANCELED
from callback_sdk.redaction import Secret
from callback_sdk.service.auth import is_allowed
from callback_sdk.service.hub import Hub
from callback_sdk.service.shell import Shell
from callback_sdk.service.submission import Form, SubmissionError, accept
from callback_sdk.service.views import TaskView, show_algorithm, show_task, show_version
from callback_sdk.stores import Stores
from callback_sdk.targets import Settings

MIB = 1024 * 1024

STATUSES: dict[type[CallbackSDKError], int] = {
    UnknownAlgorithmError: 404,
    TargetError: 422,
    FeaturesError: 422,
    SubmissionError: 422,
    MissingExtraError: 501,
}
"""What an error of ours is over HTTP. One that isn't here is a fault of the service."""


def create_app(
    hub: Hub,
    *,
    token: Secret[str],
    guard: AddressGuard,
    storage_endpoints: Iterable[str] = (),
    max_body: int = 256 * MIB,
    max_callbacks: int = 10,
) -> FastAPI:
    """Make the ASGI application.

    Args:
        hub: What does the work. Whoever makes the application starts and closes it.
        token: What requests must carry as `Authorization: Bearer`.
        guard: Which hosts callbacks may reach.
        storage_endpoints: URLs of object stores besides the known providers.
        max_body: Bytes that a request may have.
        max_callbacks: Targets that a task may have.

    Raises:
        ConfigurationError: An endpoint is no URL.
    """
    app = FastAPI(title="callback_sdk", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    settings = Settings(stores=Stores.of(storage_endpoints))
    app.include_router(_algorithms(hub, token))
    app.include_router(_tasks(hub, token, settings, guard, max_callbacks))
    app.add_api_route("/healthz", lambda: {"status": True})
    app.add_exception_handler(AnyHTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    for kind in STATUSES:
        app.add_exception_handler(kind, _own_error)
    app.add_middleware(Shell, max_body=max_body)
    return app


def _router(token: Secret[str]) -> APIRouter:
    async def authorize(request: Request) -> None:
        if not is_allowed(request.headers.get("authorization"), token):
            raise HTTPException(
                401,
                "The token is missing or wrong. Send it as Authorization: Bearer; it is in the file "
                "token of the service's data folder.",
                headers={"WWW-Authenticate": "Bearer"},
            )

    return APIRouter(prefix="/api/v2", dependencies=[Depends(authorize)])


def _algorithms(hub: Hub, token: Secret[str]) -> APIRouter:
    router, registry = _router(token), hub.registry

    @router.get("/algorithms")
    async def list_algorithms() -> list[dict[str, Any]]:
        return [show_algorithm(registry.versions(name)) for name in registry]

    @router.get("/algorithms/{algorithm_id}")
    async def get_algorithm(algorithm_id: str) -> dict[str, Any]:
        return show_algorithm(registry.versions(algorithm_id))

    @router.get("/algorithms/{algorithm_id}/versions")
    async def list_versions(algorithm_id: str) -> list[dict[str, Any]]:
        return [show_version(version) for version in registry.versions(algorithm_id)]

    @router.get("/algorithms/{algorithm_id}/versions/{version}")
    async def get_version(algorithm_id: str, version: str) -> dict[str, Any]:
        return show_version(registry.get(algorithm_id, version))

    return router


def _tasks(hub: Hub, token: Secret[str], settings: Settings, guard: AddressGuard, max_callbacks: int) -> APIRouter:
    router = _router(token)

    @router.post("/algorithms/{algorithm_id}/predict")
    async def predict(algorithm_id: str, request: Request) -> Response:
        await run_in_threadpool(hub.registry.get, algorithm_id)
        try:
            form = await _read_form(request)
            job_id = await run_in_threadpool(
                accept, hub, algorithm_id, form, settings=settings, guard=guard, max_callbacks=max_callbacks
            )
        finally:
            await request.close()
        return _reply(await run_in_threadpool(_view, hub, job_id), 202)

    @router.get("/algorithms/tasks/{job_id}")
    def get_task(job_id: str) -> Response:
        return _reply(_view(hub, job_id), 200)

    @router.delete("/algorithms/tasks/{job_id}")
    def cancel_task(job_id: str) -> Response:
        status = hub.cancel(job_id)
        if status not in (CANCELED, None):
            raise HTTPException(409, f"The task {job_id} has ended already. Its results are kept.")
        return _reply(_view(hub, job_id), 202)

    return router


async def _read_form(request: Request) -> Form:
    # Straight from the parser into their wrappers: a callback may be a credential.
    items = Secret((await request.form(max_files=2, max_fields=20, max_part_size=MIB)).multi_items())
    return Form(
        fields={name: Secret(value) for name, value in items.reveal() if isinstance(value, str)},
        files={name: value.file for name, value in items.reveal() if isinstance(value, UploadFile)},
    )


def _view(hub: Hub, job_id: str) -> TaskView:
    task = hub.store.task(job_id)
    if task is None:
        raise HTTPException(404, f"There is no task {job_id!r}.")
    return show_task(task, hub.store.deliveries(job_id), hub.blobs)


def _reply(view: TaskView, status: int) -> Response:
    return StreamingResponse(
        view.chunks(), status, media_type="application/json", headers={"Content-Length": str(view.size)}
    )


def _error(status: int, headers: Any = None, **members: Any) -> Response:
    content = orjson.dumps({"status": False, **members}, default=str)
    return Response(content, status, headers=headers, media_type="application/json")


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, AnyHTTPException):
        raise error
    detail = error.detail
    if detail == http.HTTPStatus(error.status_code).phrase:
        detail = f"{detail}: {request.method} {request.url.path}"
    return _error(error.status_code, error.headers, error=detail)


async def _validation_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return _error(422, errors=[f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()])


async def _own_error(_: Request, error: Exception) -> Response:
    status = next(status for kind, status in STATUSES.items() if isinstance(error, kind))
    return _error(status, error=str(error))
