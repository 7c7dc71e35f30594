"""Routes that show what can be run."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Response

from callback_sdk.service.api import schemas
from callback_sdk.service.api.access import ServiceFace, authenticate
from callback_sdk.service.api.views import show_algorithm, show_version

_NOT_FOUND = schemas.answers(401, 404, 422, 503)

router = APIRouter(prefix="/api/v2", tags=["algorithms"], dependencies=[Depends(authenticate)])


@router.get("/algorithms", response_model=list[schemas.Algorithm], responses=schemas.answers(401, 503))
def list_algorithms(face: ServiceFace) -> list[dict[str, Any]]:
    return [show_algorithm(face.hub.registry.versions(name)) for name in face.hub.registry]


@router.get("/algorithms/{algorithm_id}", response_model=schemas.Algorithm, responses=_NOT_FOUND)
def get_algorithm(face: ServiceFace, algorithm_id: str) -> dict[str, Any]:
    return show_algorithm(face.hub.registry.versions(algorithm_id))


@router.get("/algorithms/{algorithm_id}/versions", response_model=list[schemas.Version], responses=_NOT_FOUND)
def list_versions(face: ServiceFace, algorithm_id: str) -> list[dict[str, Any]]:
    return [show_version(version) for version in face.hub.registry.versions(algorithm_id)]


@router.get("/algorithms/{algorithm_id}/versions/{version}", response_model=schemas.Version, responses=_NOT_FOUND)
def get_version(face: ServiceFace, algorithm_id: str, version: str) -> dict[str, Any]:
    return show_version(face.hub.registry.get(algorithm_id, version))


@router.get(
    "/algorithms/{algorithm_id}/template",
    response_model=None,
    responses={**_NOT_FOUND, 200: {"content": {"application/json": {"schema": {}}}}},
)
def get_template(
    face: ServiceFace,
    algorithm_id: str,
    type: Literal["input", "output", "parameters"] = "input",  # noqa: A002
    version: str | None = None,
) -> Response:
    algorithm = face.hub.registry.get(algorithm_id, version)
    text = algorithm.template(type)
    if text is None:
        raise HTTPException(404, f"{algorithm_id!r} has no template of its {type}. Its author can register one.")
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
def get_graph(face: ServiceFace, algorithm_id: str, type: str | None = None, version: str | None = None) -> Response:  # noqa: A002
    algorithm = face.hub.registry.get(algorithm_id, version)
    picture = algorithm.graph(type)
    if picture is None:
        has = f"it has {', '.join(algorithm.graph_kinds)}" if algorithm.graph_kinds else "its author registered none"
        raise HTTPException(404, f"{algorithm_id!r} has no such graph; {has}.")
    return Response(picture, media_type="image/png")
