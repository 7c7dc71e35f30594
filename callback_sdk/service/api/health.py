"""Routes for operators: liveness, readiness and metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.api import schemas
from callback_sdk.service.api.access import StateDep
from callback_sdk.service.api.errors import problem
from callback_sdk.service.api.readiness import Readiness
from callback_sdk.service.api.views import show_worker
from callback_sdk.service.engines.preparation import READY
from callback_sdk.service.metrics import CONTENT_TYPE, exposition

router = APIRouter(tags=["operations"])


@router.get("/healthz")
async def alive() -> dict[str, Any]:
    return {"status": True}


@router.get("/readyz", response_model=None, responses=schemas.answers(503))
async def ready(request: Request, state: StateDep) -> Response | dict[str, Any]:
    readiness: Readiness = request.app.state.readiness
    try:
        await readiness.wait()
    except CallbackSDKError as error:
        return problem(503, {"Retry-After": "5"}, error=str(error))
    workers = await run_in_threadpool(state.task_service.engine.workers)
    if all(one.status == READY for one in workers):
        return {"status": True}
    return {"status": True, "workers": [show_worker(one) for one in workers]}


@router.get("/metrics", response_model=None, responses={**schemas.answers(503), 200: {"content": {CONTENT_TYPE: {}}}})
def metrics(state: StateDep) -> Response:
    return Response(exposition(state.task_service.store, state.task_service.registry), media_type=CONTENT_TYPE)
