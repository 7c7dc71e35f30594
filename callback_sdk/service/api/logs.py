"""Routes of the output of tasks: all that is stored, and what is new since the last request."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from callback_sdk.service.access.caller import Right
from callback_sdk.service.api import schemas
from callback_sdk.service.api.access import CallerDep, StateDep, task_of
from callback_sdk.service.api.task_output import OutputPosition, new_output, parse_position, show_output

_ANSWERS = schemas.answers(401, 404, 422, 503)
_PLAIN: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

router = APIRouter(prefix="/api/v2", tags=["tasks"])


@router.get("/algorithms/tasks/{job_id}/logs", response_model=None, responses={**_ANSWERS, **_PLAIN})
def get_logs(job_id: str, state: StateDep, caller: CallerDep) -> Response:
    task_of(state, caller, job_id, Right.SEE, viewing="logs-viewed")
    return Response(show_output(state.task_service.store.output.read(job_id)), media_type="text/plain")


@router.get("/algorithms/tasks/{job_id}/logs/new", response_model=schemas.OutputResponse, responses=_ANSWERS)
def get_new_logs(
    job_id: str, state: StateDep, caller: CallerDep, cursor: Annotated[str | None, Query(max_length=40)] = None
) -> dict[str, Any]:
    task_of(state, caller, job_id, Right.SEE, viewing="logs-viewed")
    output = state.task_service.store.output
    # Before the output is read, so that nothing is missing at its end.
    ended = output.is_complete(job_id)
    after = OutputPosition() if cursor is None else parse_position(cursor)
    text, position = new_output(output.read(job_id), after, ended=ended)
    return {"text": text, "cursor": str(position), "ended": ended}
