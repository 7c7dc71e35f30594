"""Routes of the signing secrets of a user's webhooks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fastapi import APIRouter, HTTPException, Response

from callback_sdk.redaction import Secret
from callback_sdk.service.access.signing_secrets import SigningSecretError, create_secret, revoke_secret
from callback_sdk.service.api import schemas
from callback_sdk.service.api.access import CallerDep, StateDep
from callback_sdk.service.api.views import show_secret
from callback_sdk.service.store.signing_secrets import TooManySecretsError

router = APIRouter(prefix="/api/v2", tags=["signing secrets"])


@router.get(
    "/signing-secrets",
    response_model=schemas.SigningSecretList,
    responses=schemas.answers(400, 401, 422, 503),
)
def list_secrets(state: StateDep, caller: CallerDep) -> dict[str, Any]:
    found = state.task_service.store.signing_secrets.of(caller.user.user_id)
    return {"secrets": [show_secret(secret) for secret in found]}


@router.post(
    "/signing-secrets",
    status_code=201,
    response_model=schemas.NewSigningSecret,
    responses=schemas.answers(400, 401, 409, 413, 422, 503),
)
def create(state: StateDep, caller: CallerDep, body: schemas.SigningSecretRequest) -> dict[str, Any]:
    scheme, given, overlap = body.scheme, Secret(body.secret), timedelta(seconds=body.overlap)
    del body
    try:
        created, secret = create_secret(
            state.task_service.store,
            caller.user,
            scheme=scheme,
            given=None if given.reveal() is None else Secret(given.reveal() or ""),
            overlap=overlap,
        )
    except TooManySecretsError as error:
        raise HTTPException(409, str(error)) from None
    except SigningSecretError as error:
        raise HTTPException(422, str(error)) from None
    state.audit.record_action("signing-secret-created", caller, secret_id=created.secret_id)
    # Of an asymmetric one receivers need the public key only, and a given one is known.
    is_new = created.scheme == "v1" and given.reveal() is None
    return {**show_secret(created), "secret": secret.reveal() if is_new else None}


@router.delete(
    "/signing-secrets/{secret_id}",
    status_code=204,
    response_class=Response,
    responses=schemas.answers(400, 401, 404, 422, 503),
)
def revoke(secret_id: str, state: StateDep, caller: CallerDep) -> Response:
    try:
        revoke_secret(state.task_service.store, caller.user, secret_id)
    except SigningSecretError as error:
        raise HTTPException(404, error.message) from None
    state.audit.record_action("signing-secret-revoked", caller, secret_id=secret_id)
    return Response(status_code=204)
