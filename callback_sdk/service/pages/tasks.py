"""Routes of tasks: list, show, watch and cancel them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, get_args

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from callback_sdk.errors import CallbackSDKError
from callback_sdk.models import outcome
from callback_sdk.service.access.caller import Caller, Right
from callback_sdk.service.api import cursors
from callback_sdk.service.api.access import AppState, recorded_list, requested_owner, task_of
from callback_sdk.service.api.event_streams import Viewer
from callback_sdk.service.api.schemas import StatusFilter
from callback_sdk.service.api.task_output import OutputPosition, new_output
from callback_sdk.service.api.tasks import cancel as cancel_task
from callback_sdk.service.api.tasks import view_task
from callback_sdk.service.api.views import expiry_of, show_delivery
from callback_sdk.service.pages.auth import LoginRequiredError, app_state, caller, csrf_caller
from callback_sdk.service.pages.lists import PAGE, back_to, link, notice_of, text_of, time_of
from callback_sdk.service.pages.rendering import prefix_of, render
from callback_sdk.service.store.models import FIT
from callback_sdk.service.store.outcomes import OPEN
from callback_sdk.service.store.search import TaskFilter

_MAX_SHOWN = 100
"""Maximum number of deliveries, attempts and output files on a task's page."""

_MAX_CANCELED = 1000
"""Maximum number of tasks that one request cancels."""

_FILTERS = ("status", "algorithm", "user", "id", "error", "since", "until")


def tasks(request: Request) -> Response:
    asking, state, query = caller(request), app_state(request), request.query_params
    wanted, chosen = _filter(state, asking, query)
    cursor = text_of(query, "cursor")
    store = state.task_service.store
    page = store.search.page(wanted, after=None if cursor is None else cursors.decode(cursor, float, str), limit=PAGE)
    recorded_list(state, asking, "tasks-listed", page.tasks)
    more = None if page.position is None else cursors.encode(*page.position)
    return render(
        request,
        "tasks.html",
        tasks=page.tasks,
        delivery_counts=store.deliveries.status_counts([task["job_id"] for task in page.tasks]),
        statuses=get_args(StatusFilter),
        algorithms=sorted({*state.task_service.registry, *([wanted.algorithm] if wanted.algorithm else [])}),
        wanted=wanted,
        chosen=chosen,
        is_operator=asking.is_operator,
        is_filtered=bool(chosen),
        can_cancel=any(task["status"] in OPEN for task in page.tasks),
        open=OPEN,
        first=link(request, "/tasks", chosen),
        further=None if more is None else link(request, "/tasks", chosen, cursor=more),
        here_now=link(request, "/tasks", chosen, cursor=cursor),
        is_first=cursor is None,
        notice=notice_of(query),
    )


def _filter(state: AppState, asking: Caller, query: Mapping[str, str]) -> tuple[TaskFilter, dict[str, str]]:
    """Return the filter of a query, and its texts by name.

    Raises:
        HTTPException: 403 or 422 for a filter that can't be used.
    """
    chosen = {name: text for name in _FILTERS if (text := text_of(query, name)) is not None}
    status, since, until = chosen.get("status"), time_of(query, "since"), time_of(query, "until")
    if status is not None and status not in get_args(StatusFilter):
        raise HTTPException(422, f"Unknown status: {status!r:.100}.")
    wanted = TaskFilter(
        owner=requested_owner(state, asking, chosen.get("user")),
        status=status,
        algorithm=chosen.get("algorithm"),
        id_prefix=chosen.get("id"),
        error=chosen.get("error"),
        since=None if since is None else since.timestamp(),
        until=None if until is None else until.timestamp(),
    )
    return wanted, chosen


def task(request: Request) -> Response:
    asking, state = caller(request), app_state(request)
    found = task_of(state, asking, request.path_params["job_id"], Right.SEE)
    may_read = asking.may(Right.READ, found["owner"])
    store = state.task_service.store
    attempts = store.deliveries.attempts(found["job_id"])
    all_deliveries = store.deliveries.of(found["job_id"])
    outputs = store.output_files.of(found["job_id"]) if may_read else []
    shown = [show_delivery(delivery, attempts, may_read=may_read) for delivery in all_deliveries[:_MAX_SHOWN]]
    has_ended = found["status"] not in OPEN
    output, position = new_output(store.output.read(found["job_id"]), OutputPosition(), ended=has_ended)
    return render(
        request,
        "task.html",
        task=found,
        is_own=asking.owns(found["owner"]),
        may_read=may_read,
        deliveries=shown,
        more_deliveries=len(all_deliveries) - len(shown),
        max_shown=_MAX_SHOWN,
        outputs=outputs[:_MAX_SHOWN],
        more_outputs=max(0, len(outputs) - _MAX_SHOWN),
        trained_version=store.versions.of_task(found["job_id"]) if found["kind"] == FIT else None,
        output=output,
        position=str(position),
        timeline=_timeline(found, shown)[-_MAX_SHOWN:],
        expires_at=expiry_of(found) if found["started_at"] is None and found["finished_at"] is None else None,
        can_cancel=not has_ended,
        moving=not has_ended or any(item["status"] == "pending" for item in shown),
        here_now=f"{prefix_of(request)}/tasks/{found['job_id']}",
        notice=notice_of(request.query_params),
    )


async def events(request: Request) -> Response:
    asking, state = await run_in_threadpool(caller, request), app_state(request)
    job_id = request.path_params["job_id"]
    await run_in_threadpool(task_of, state, asking, job_id, Right.SEE, viewing="logs-viewed")
    # A browser sends the header only when it reconnects.
    position = request.headers.get("last-event-id") or request.query_params.get("after")

    def may_watch() -> bool:
        try:
            task_of(state, caller(request), job_id, Right.SEE, viewing="logs-viewed")
        except (CallbackSDKError, HTTPException, LoginRequiredError):
            return False
        return True

    return state.events.of_task(job_id, Viewer(user_id=asking.user.user_id, may_watch=may_watch), position)


def results(request: Request) -> Response:
    asking, state = caller(request), app_state(request)
    found = task_of(state, asking, request.path_params["job_id"], Right.READ, viewing="results-read")
    view = view_task(state, asking, found)
    headers = {
        "Content-Length": str(view.size),
        "Content-Disposition": f'attachment; filename="task-{found["job_id"]}.json"',
    }
    return StreamingResponse(view.chunks(), media_type="application/json", headers=headers)


def ask_to_cancel(request: Request) -> Response:
    asking, state = caller(request), app_state(request)
    found = task_of(state, asking, request.path_params["job_id"], Right.MANAGE)
    place = f"{prefix_of(request)}/tasks/{found['job_id']}"
    if found["status"] not in OPEN:
        return RedirectResponse(place, 303)
    return render(
        request,
        "confirm.html",
        title="Cancel this task?",
        text="A run is stopped, and its work is lost. The targets are told that the task was canceled.",
        items=[f"{found['job_id']}, {found['algorithm']} {found['version']}"],
        more=0,
        action=f"{place}/cancel",
        fields=[],
        button="Cancel the task",
        destructive=True,
        back=place,
    )


async def cancel(request: Request) -> Response:
    asking, state, job_id = await csrf_caller(request), app_state(request), request.path_params["job_id"]
    await run_in_threadpool(cancel_task, state, asking, job_id)
    return RedirectResponse(f"{prefix_of(request)}/tasks/{job_id}", 303)


async def cancel_several(request: Request) -> Response:
    """Cancel the selected tasks, or all open ones that a filter selects, after a confirmation."""
    asking, state = await csrf_caller(request), app_state(request)
    form = await request.form()
    values = {name: str(value) for name, value in form.multi_items() if name != "selected"}
    selected = [str(value)[:64] for value in form.getlist("selected")]
    return await run_in_threadpool(_cancel_several, request, state, asking, values, selected)


def _cancel_several(
    request: Request, state: AppState, asking: Caller, values: Mapping[str, str], selected: list[str]
) -> Response:
    wanted, chosen = _filter(state, asking, values)
    place = values.get("next", "")
    if values.get("choice") == "all":
        found = state.task_service.store.search.open_ids(wanted, limit=_MAX_CANCELED + 1)
        job_ids, left = found[:_MAX_CANCELED], len(found) > _MAX_CANCELED
    else:
        job_ids, left = selected, False
    if not job_ids:
        return RedirectResponse(back_to(request, place, "/tasks", nothing=1), 303)
    if values.get("confirm") != "yes":
        number = f"{len(job_ids)} tasks" if len(job_ids) != 1 else "this task"
        # Tasks that are accepted after the question are not in its answer.
        asked_at = datetime.fromtimestamp(state.task_service.store.clock(), timezone.utc)
        chosen = {"until": asked_at.isoformat(), **chosen}
        fields = [*chosen.items(), ("choice", values.get("choice", "selected")), ("next", place)]
        return render(
            request,
            "confirm.html",
            title=f"Cancel {number}?",
            text="Runs are stopped, and their work is lost. The targets are told that the tasks were canceled."
            + (" More tasks match. These are the latest ones." if left else ""),
            items=job_ids[:PAGE],
            more=max(0, len(job_ids) - PAGE),
            action=f"{prefix_of(request)}/tasks/cancel",
            fields=fields + [("selected", job_id) for job_id in selected],
            button=f"Cancel {number}",
            destructive=True,
            back=back_to(request, place, "/tasks"),
        )
    canceled = sum(_try_to_cancel(state, asking, job_id) for job_id in job_ids)
    return RedirectResponse(back_to(request, place, "/tasks", canceled=canceled, left=int(left)), 303)


def _try_to_cancel(state: AppState, asking: Caller, job_id: str) -> bool:
    """Cancel a task, unless it has ended meanwhile or isn't the caller's; return whether it was canceled."""
    try:
        cancel_task(state, asking, job_id)
    except HTTPException:
        return False
    return True


def _timeline(task: dict[str, Any], deliveries: Sequence[dict[str, Any]]) -> list[tuple[Any, str, str | None]]:
    """Return the events of a task: time, description and error."""
    attempts = [
        (item["finished_at"] or item["started_at"], _attempt(item, item["url"] or delivery["url"]), item["error"])
        for delivery in deliveries
        for item in delivery["attempts"]
    ]
    ended = outcome(task["status"], task["success"], task["error_code"]) or "Ended"
    own = [(task["created_at"], "Accepted", None), (task["started_at"], f"Run {task['attempt']} started", None)]
    own.append((task["finished_at"], ended, task["error"]))
    return [item for item in own if item[0] is not None] + sorted(attempts, key=lambda item: item[0] or "")


def _attempt(item: dict[str, Any], url: str) -> str:
    outcome = "failed" if item["error"] else "delivered" if item["finished_at"] else "started"
    return f"Attempt {item['number']} at {url} {outcome}"
