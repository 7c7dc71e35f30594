"""Routes to log in, and to refresh and verify tokens."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from callback_sdk.redaction import Secret
from callback_sdk.service.api import schemas
from callback_sdk.service.api.access import StateDep, address_of

router = APIRouter(prefix="/api/v2", tags=["tokens"])


@router.post("/token", response_model=schemas.TokenPair, responses=schemas.answers(400, 401, 413, 422, 429, 503))
async def log_in(state: StateDep, request: Request, body: schemas.LoginRequest) -> dict[str, Any]:
    name, password = body.username, Secret(body.password)
    del body
    access, refresh = await state.logins.run(
        lambda: state.authenticator.log_in(name, password),
        name=name,
        password=password,
        address=address_of(request),
        via="api",
    )
    return {"access": access.reveal(), "refresh": refresh.reveal()}


@router.post("/token/refresh", response_model=schemas.TokenPair, responses=schemas.answers(400, 401, 413, 422, 503))
def refresh(state: StateDep, request: Request, body: schemas.RefreshRequest) -> dict[str, Any]:
    token = Secret(body.refresh)
    del body
    access, following = state.authenticator.renew(token, address=address_of(request))
    return {"access": access.reveal(), "refresh": following.reveal()}


@router.post("/token/verify", responses=schemas.answers(400, 401, 413, 422, 503))
def verify(state: StateDep, body: schemas.TokenRequest) -> dict[str, Any]:
    token = Secret(body.token)
    del body
    state.authenticator.authenticate_token(token)
    return {}
