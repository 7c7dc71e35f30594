"""Routes of the server-sent events of one task, and of all tasks of a user."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Query, Response
from starlette.concurrency import run_in_threadpool

from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.access.caller import Right
from callback_sdk.service.api import schemas
from callback_sdk.service.api.access import AgainDep, CallerDep, StateDep, task_of
from callback_sdk.service.api.event_streams import Viewer


def _event(*names: str) -> dict[str, Any]:
    """Return the schema of an event that has one of these names."""
    return {
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "event": {"enum": list(names)},
            "data": {"type": "string", "description": "JSON."},
            "id": {"type": "string", "description": "The value of Last-Event-ID after this event."},
        },
    }


_Last = Annotated[str | None, Header(max_length=40)]

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events status, output and end, each with JSON. Comments are sent as heartbeats.",
        "content": {"text/event-stream": {"schema": _event("status", "output", "end")}},
    },
    204: {"description": "The event of Last-Event-ID was the last one."},
}

_ALL: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events begin and status, each with JSON. Comments are sent as heartbeats.",
        "content": {"text/event-stream": {"schema": _event("begin", "status")}},
    }
}

router = APIRouter(prefix="/api/v2", tags=["tasks"])


# A task's id is never "events".
@router.get("/algorithms/tasks/events", response_model=None, responses={**schemas.answers(401, 422, 429, 503), **_ALL})
async def watch_tasks(state: StateDep, caller: CallerDep, again: AgainDep, last_event_id: _Last = None) -> Response:
    def may_watch() -> bool:
        try:
            again()
        except (CallbackSDKError, HTTPException):
            return False
        return True

    return state.events.of_user(Viewer(user_id=caller.user.user_id, may_watch=may_watch), last_event_id)


@router.get(
    "/algorithms/tasks/{job_id}/events",
    response_model=None,
    responses={**schemas.answers(401, 404, 422, 429, 503), **_STREAM},
)
async def watch_task(
    job_id: str,
    state: StateDep,
    caller: CallerDep,
    again: AgainDep,
    last_event_id: _Last = None,
    output: Annotated[bool, Query(description="Whether to send events output.")] = True,
) -> Response:
    def may_watch() -> bool:
        try:
            task_of(state, again(), job_id, Right.SEE, viewing="logs-viewed")
        except (CallbackSDKError, HTTPException):
            return False
        return True

    await run_in_threadpool(task_of, state, caller, job_id, Right.SEE, viewing="logs-viewed")
    viewer = Viewer(user_id=caller.user.user_id, may_watch=may_watch)
    return state.events.of_task(job_id, viewer, last_event_id, output=output)
