"""Routes of the workers, and of paused algorithms."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from callback_sdk.service.access.caller import Caller
from callback_sdk.service.api import schemas
from callback_sdk.service.api.access import AppState, CallerDep, OperatorDep, StateDep
from callback_sdk.service.api.views import show_listed_worker, show_pause
from callback_sdk.service.store.pauses import Pause

router = APIRouter(prefix="/api/v2", tags=["operations"])


@router.get("/workers", response_model=list[schemas.WorkerResponse], responses=schemas.answers(401, 403, 503))
def list_workers(state: StateDep, caller: OperatorDep) -> list[dict[str, Any]]:
    return [show_listed_worker(worker) for worker in state.task_service.store.workers.all()]


@router.get("/pauses", response_model=list[schemas.PauseResponse], responses=schemas.answers(401, 503))
def list_pauses(state: StateDep, caller: CallerDep) -> list[dict[str, Any]]:
    return [show_pause(pause) for pause in state.task_service.store.pauses.all()]


@router.put(
    "/algorithms/{algorithm_id}/pause",
    response_model=schemas.PauseResponse,
    responses=schemas.answers(400, 401, 403, 404, 413, 422, 503),
)
def pause_algorithm(
    state: StateDep, caller: OperatorDep, algorithm_id: str, body: schemas.PauseRequest
) -> dict[str, Any]:
    return show_pause(pause(state, caller, algorithm_id, accept=body.accept, reason=body.reason))


@router.delete("/algorithms/{algorithm_id}/pause", response_model=None, responses=schemas.answers(401, 403, 404, 503))
def resume_algorithm(state: StateDep, caller: OperatorDep, algorithm_id: str) -> dict[str, Any]:
    resume(state, caller, algorithm_id)
    return {"status": True}


def pause(state: AppState, caller: Caller, algorithm: str, *, accept: bool, reason: str) -> Pause:
    """Pause an algorithm, or change how it is paused.

    Args:
        state: The application's state.
        caller: The operator.
        algorithm: Name of the algorithm.
        accept: Whether new tasks are accepted, and queued.
        reason: The reason, for users.

    Raises:
        UnknownAlgorithmError: The service doesn't have it.
    """
    state.rules.catalogue.registered_versions(algorithm)
    pauses = state.task_service.store.pauses
    pauses.pause(algorithm, is_accepted=accept, reason=reason, paused_by=caller.user.name)
    state.audit.record_action("algorithm-paused", caller, algorithm=algorithm, accept=accept, reason=reason or None)
    return next(one for one in pauses.all() if one.algorithm == algorithm)


def resume(state: AppState, caller: Caller, algorithm: str) -> None:
    """Start the tasks of a paused algorithm again; an algorithm that isn't paused stays as it is."""
    if state.task_service.store.pauses.resume(algorithm):
        state.audit.record_action("algorithm-resumed", caller, algorithm=algorithm)
        state.task_service.runtime.wakeup.set()
