"""Route of the server-sent events of a task."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from starlette.concurrency import run_in_threadpool

from callback_sdk.service.access.caller import Right
from callback_sdk.service.api import schemas
from callback_sdk.service.api.access import CallerDep, StateDep, task_of

_EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["status", "output", "end"]},
        "data": {"type": "string", "description": "JSON."},
        "id": {"type": "string", "description": "The value of Last-Event-ID after this event."},
    },
}

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events status, output and end, each with JSON. Comments are sent as heartbeats.",
        "content": {"text/event-stream": {"schema": _EVENT}},
    },
    204: {"description": "The event of Last-Event-ID was the last one."},
}

router = APIRouter(prefix="/api/v2", tags=["tasks"])


@router.get(
    "/algorithms/tasks/{job_id}/events",
    response_model=None,
    responses={**schemas.answers(401, 404, 422, 429, 503), **_STREAM},
)
async def watch_task(
    job_id: str, state: StateDep, caller: CallerDep, last_event_id: Annotated[str | None, Header(max_length=40)] = None
) -> Response:
    await run_in_threadpool(task_of, state, caller, job_id, Right.SEE, viewing="logs-viewed")
    return state.events.respond(job_id, caller.user.user_id, last_event_id)
