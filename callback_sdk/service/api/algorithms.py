"""Routes that list algorithms, with their templates and graphs."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, HTTPException, Response

from callback_sdk.service.algorithms.versions import AlgorithmVersion
from callback_sdk.service.api import schemas
from callback_sdk.service.api.access import AppState, CallerDep, StateDep
from callback_sdk.service.api.views import show_algorithm, show_versions
from callback_sdk.service.store import User
from callback_sdk.service.store.models import TrainedVersion

_NOT_FOUND = schemas.answers(401, 404, 422, 503)

router = APIRouter(prefix="/api/v2", tags=["algorithms"])


@router.get("/algorithms", response_model=list[schemas.AlgorithmResponse], responses=schemas.answers(401, 503))
def list_algorithms(state: StateDep, caller: CallerDep) -> list[dict[str, Any]]:
    return [show_algorithm(*_versions(state, caller.user, name)) for name in state.rules.catalogue]


@router.get("/algorithms/{algorithm_id}", response_model=schemas.AlgorithmResponse, responses=_NOT_FOUND)
def get_algorithm(state: StateDep, caller: CallerDep, algorithm_id: str) -> dict[str, Any]:
    return show_algorithm(*_versions(state, caller.user, algorithm_id))


@router.get("/algorithms/{algorithm_id}/versions", response_model=list[schemas.VersionResponse], responses=_NOT_FOUND)
def list_versions(state: StateDep, caller: CallerDep, algorithm_id: str) -> list[dict[str, Any]]:
    return show_versions(*_versions(state, caller.user, algorithm_id))


@router.get(
    "/algorithms/{algorithm_id}/versions/{version}", response_model=schemas.VersionResponse, responses=_NOT_FOUND
)
def get_version(state: StateDep, caller: CallerDep, algorithm_id: str, version: str) -> dict[str, Any]:
    # An unknown name raises an error that suggests similar names.
    state.rules.catalogue.get(caller.user.user_id, algorithm_id, version)
    found = show_versions(*_versions(state, caller.user, algorithm_id))
    return next(one for one in found if one["version"] == version)


@router.get(
    "/algorithms/{algorithm_id}/template",
    response_model=None,
    responses={**_NOT_FOUND, 200: {"content": {"application/json": {"schema": {}}}}},
)
def get_template(
    state: StateDep,
    caller: CallerDep,
    algorithm_id: str,
    type: Literal["input", "output", "parameters"] = "input",  # noqa: A002
    version: str | None = None,
) -> Response:
    algorithm = state.rules.catalogue.get(caller.user.user_id, algorithm_id, version).algorithm
    text = algorithm.template(type)
    if text is None:
        raise HTTPException(404, f"{algorithm_id!r} has no template of the type {type}.")
    name = f"{algorithm.name}-{algorithm.version}-{type}.json"
    return Response(
        text,
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@router.get(
    "/algorithms/{algorithm_id}/graph",
    response_model=None,
    responses={**_NOT_FOUND, 200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}},
)
def get_graph(
    state: StateDep,
    caller: CallerDep,
    algorithm_id: str,
    type: str | None = None,  # noqa: A002
    version: str | None = None,
) -> Response:
    algorithm = state.rules.catalogue.get(caller.user.user_id, algorithm_id, version).algorithm
    picture = algorithm.graph(type)
    if picture is None:
        has = f"graphs of the types {', '.join(algorithm.graph_kinds)}" if algorithm.graph_kinds else "no graphs"
        raise HTTPException(404, f"{algorithm_id!r} has no graph of this type. It has {has}.")
    return Response(picture, media_type="image/png")


def _versions(state: AppState, user: User, name: str) -> tuple[tuple[AlgorithmVersion, ...], list[TrainedVersion]]:
    return state.rules.catalogue.registered_versions(name), state.rules.catalogue.trained_versions(user.user_id, name)
