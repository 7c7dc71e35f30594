"""Routes of algorithms: their versions, samples, pictures, and pauses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from callback_sdk.service.access.caller import Caller
from callback_sdk.service.algorithms.versions import TEMPLATES, AlgorithmVersion
from callback_sdk.service.api import workers
from callback_sdk.service.api.access import AppState, require_operator
from callback_sdk.service.api.schemas import MAX_REASON
from callback_sdk.service.pages.auth import app_state, caller, csrf_caller, session
from callback_sdk.service.pages.rendering import prefix_of, render

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
    pause = next((one for one in app_state(request).task_service.store.pauses.all() if one.algorithm == name), None)
    trained = app_state(request).rules.catalogue.trained_versions(user_session.user.user_id, name)
    return render(
        request,
        "algorithm.html",
        name=name,
        versions=shown,
        trained=trained[::-1][:_MAX_SHOWN],
        pause=pause,
        may_pause=caller(request).is_operator,
        max_reason=MAX_REASON,
    )


async def pause(request: Request) -> Response:
    by, form = require_operator(await csrf_caller(request)), await request.form()
    reason = str(form.get("reason", "")).strip()
    if len(reason) > MAX_REASON or "\0" in reason:
        raise HTTPException(422, f"The reason has a NUL, or more than {MAX_REASON} characters.")
    return await _change(request, partial(workers.pause, accept=form.get("accept") == "yes", reason=reason), by)


async def resume(request: Request) -> Response:
    return await _change(request, workers.resume, require_operator(await csrf_caller(request)))


async def _change(request: Request, change: Callable[[AppState, Caller, str], Any], by: Caller) -> Response:
    name = request.path_params["name"]
    await run_in_threadpool(change, app_state(request), by, name)
    return RedirectResponse(f"{prefix_of(request)}/algorithms/{quote(name, safe='')}", 303)


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
