"""Routes to log in and to stay logged in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter, HTTPException

from callback_sdk.redaction import Secret
from callback_sdk.service.api import schemas
from callback_sdk.service.api.access import ServiceFace

# A password takes a while to check, on purpose: those who wait for it must not take the threads of all other requests.
_waiting = threading.BoundedSemaphore(8)

router = APIRouter(prefix="/api/v2", tags=["tokens"])


@contextmanager
def logging_in() -> Iterator[None]:
    """Check a password in this block, unless too many are being checked.

    Raises:
        HTTPException: 429.
    """
    if not _waiting.acquire(blocking=False):
        raise HTTPException(429, "Too many log in at this moment. Try again soon.", headers={"Retry-After": "2"})
    try:
        yield
    finally:
        _waiting.release()


@router.post("/token", response_model=schemas.Pair, responses=schemas.answers(400, 401, 413, 422, 429, 503))
def log_in(face: ServiceFace, body: schemas.LogIn) -> dict[str, Any]:
    name, password = body.username, Secret(body.password)
    del body
    with logging_in():
        access, refresh = face.doorkeeper.log_in(name, password)
    return {"access": access.reveal(), "refresh": refresh.reveal()}


@router.post("/token/refresh", response_model=schemas.Access, responses=schemas.answers(400, 401, 413, 422, 503))
def refresh(face: ServiceFace, body: schemas.Refresh) -> dict[str, Any]:
    token = Secret(body.refresh)
    del body
    return {"access": face.doorkeeper.renew(token).reveal()}


@router.post("/token/verify", responses=schemas.answers(400, 401, 413, 422, 503))
def verify(face: ServiceFace, body: schemas.Token) -> dict[str, Any]:
    token = Secret(body.token)
    del body
    face.doorkeeper.who(token)
    return {}
