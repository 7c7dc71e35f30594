"""Routes of algorithms: their versions, samples, and pictures."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from callback_sdk.service.algorithms.versions import TEMPLATES, AlgorithmVersion
from callback_sdk.service.pages.auth import app_state, session
from callback_sdk.service.pages.rendering import render

_MAX_SHOWN = 100
"""Maximum number of trained versions on a page."""


def algorithms(request: Request) -> Response:
    session(request)
    registry = app_state(request).task_service.registry
    return render(request, "algorithms.html", algorithms=[registry.versions(name) for name in registry])


def algorithm(request: Request) -> Response:
    user_session = session(request)
    versions = app_state(request).task_service.registry.versions(request.path_params["name"])
    shown = [
        {
            "algorithm": version,
            "schemas": version.schemas(),
            "templates": [(kind, text.decode()) for kind in TEMPLATES if (text := version.template(kind)) is not None],
        }
        for version in reversed(versions)
    ]
    name = versions[-1].name
    trained = app_state(request).rules.catalogue.trained(user_session.user.user_id, name)
    return render(request, "algorithm.html", name=name, versions=shown, trained=trained[::-1][:_MAX_SHOWN])


def graph(request: Request) -> Response:
    query = request.query_params
    picture = _algorithm(request).graph(query.get("type"), dark=query.get("scheme") == "dark")
    if picture is None:
        raise HTTPException(404, "The algorithm has no graph of this kind.")
    return Response(picture, media_type="image/png")


def template(request: Request) -> Response:
    found, kind = _algorithm(request), request.query_params.get("type", "input")
    text = found.template(kind)
    if text is None:
        raise HTTPException(404, "The algorithm has no template of this kind.")
    name = f"{found.name}-{found.version}-{kind}.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type="application/json", headers=headers)


def _algorithm(request: Request) -> AlgorithmVersion:
    name, version = request.path_params["name"], request.query_params.get("version")
    return app_state(request).rules.catalogue.get(session(request).user.user_id, name, version).algorithm
