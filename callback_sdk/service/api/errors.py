"""HTTP responses for errors: always JSON, never a stack trace."""

from __future__ import annotations

import http
import logging
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from callback_sdk.errors import (
    CallbackSDKError,
    ConfigurationError,
    FeaturesError,
    InvalidRequestError,
    MissingExtraError,
    ParametersError,
    SigningError,
    TargetError,
    UnknownAlgorithmError,
)
from callback_sdk.service.access.tokens import TokenError
from callback_sdk.service.api.fields import SubmissionError
from callback_sdk.service.blobs import BlobStorageError
from callback_sdk.service.files import is_full
from callback_sdk.service.store import StoreFullError, StoreUnavailableError
from callback_sdk.service.store.batches import BatchConflictError
from callback_sdk.service.store.idempotency import IdempotencyConflictError
from callback_sdk.service.store.pauses import AlgorithmPausedError
from callback_sdk.service.store.usage import StorageQuotaError, TooLargeForQuotaError
from callback_sdk.service.store.workers import OldWorkersError

STATUSES: dict[type[CallbackSDKError], int] = {
    UnknownAlgorithmError: 404,
    TargetError: 422,
    FeaturesError: 422,
    ParametersError: 422,
    SubmissionError: 422,
    InvalidRequestError: 422,
    IdempotencyConflictError: 409,
    BatchConflictError: 409,
    AlgorithmPausedError: 409,
    OldWorkersError: 409,
    TooLargeForQuotaError: 413,
    StorageQuotaError: 429,
    TokenError: 401,
    MissingExtraError: 501,
    StoreUnavailableError: 503,
    BlobStorageError: 503,
    # The credentials for the service's own bucket can't be renewed at the moment.
    SigningError: 503,
    # The store is closed while the service is stopping.
    ConfigurationError: 503,
}
"""HTTP statuses of this package's errors. Any other error is a fault of the service (500)."""

_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "60"}, 503: {"Retry-After": "5"}}


_log = logging.getLogger(__name__)


def install(app: FastAPI) -> None:
    """Install handlers that respond to every error with JSON."""
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(OSError, _disk_error)
    for kind in STATUSES:
        app.add_exception_handler(kind, _package_error)


def problem(status: int, headers: Any = None, **members: Any) -> Response:
    """Return the response for an error."""
    content = orjson.dumps({"status": False, **members}, default=str)
    return Response(content, status, headers=headers, media_type="application/json")


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    detail = error.detail
    if detail == http.HTTPStatus(error.status_code).phrase:
        detail = f"{detail}: {request.method} {request.url.path}"
    return problem(error.status_code, error.headers, error=detail)


async def _validation_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    # Without the value, which may be a password.
    return problem(422, errors=[f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()])


async def _package_error(_: Request, error: Exception) -> Response:
    status = next(status for kind, status in STATUSES.items() if isinstance(error, kind))
    # Other failures of the database may occur after the commit.
    certain = {"accepted": False} if isinstance(error, StoreFullError) else {}
    return problem(status, _HEADERS.get(status), error=str(error), **certain)


async def _disk_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, OSError) or not is_full(error):
        raise error
    _log.error("Disk full, request rejected: %s", error)
    return problem(
        503,
        _HEADERS[503],
        error="The service's disk is full. Nothing was accepted; send the request again later.",
        accepted=False,
    )
