"""Routes of tasks: submit, show, list, cancel and redeliver."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from callback_sdk import tracing
from callback_sdk.models import CANCELED, filter_seconds
from callback_sdk.redaction import Secret
from callback_sdk.service.access.caller import Caller, Right
from callback_sdk.service.api import cursors, schemas
from callback_sdk.service.api.access import (
    AgainDep,
    AppState,
    CallerDep,
    StateDep,
    acted_on,
    check_right,
    recorded_list,
    requested_owner,
    task_of,
)
from callback_sdk.service.api.batches import read_done, without_signature
from callback_sdk.service.api.fields import SubmittedForm
from callback_sdk.service.api.forms import read_form
from callback_sdk.service.api.middleware import WAITED
from callback_sdk.service.api.replacement import is_same_place, read_redelivery
from callback_sdk.service.api.submission import read_batch, read_key, read_one
from callback_sdk.service.api.views import TaskView, show_delivery, show_new, show_summary, show_task
from callback_sdk.service.store import IdempotencyKey, User
from callback_sdk.service.store.models import DELIVERY_PENDING, FIT, PREDICT, SKIPPED, WARNINGS
from callback_sdk.service.store.outcomes import OPEN
from callback_sdk.service.store.replacements import NewTarget
from callback_sdk.service.store.search import TaskFilter

_SUBMIT = schemas.answers(401, 404, 409, 413, 415, 422, 429, 503)
_TASK = schemas.answers(401, 404, 422, 503)

_Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", description="A repeated request with the same key and content returns the same task."
    ),
]

_Text = Annotated[str | None, Query(max_length=300, pattern=schemas.TEXT)]

_Wait = Annotated[
    float,
    Query(
        ge=0,
        le=3600,
        description="Seconds to wait for the end of the task, or, if it has ended, until no delivery is pending. The "
        "response is sent at once if too many clients are waiting, and after 50 s at most.",
    ),
]

_MAX_WARNINGS = 20
"""Different warnings in the response to a batch."""

_log = logging.getLogger(__name__)

router = APIRouter(prefix="/api/v2", tags=["tasks"])


@router.post(
    "/algorithms/{algorithm_id}/predict",
    status_code=202,
    response_model=None,
    responses={**_SUBMIT, 202: {"model": schemas.TaskResponse}},
    openapi_extra=schemas.PREDICT_FORM,
)
async def predict(
    algorithm_id: str, request: Request, state: StateDep, caller: CallerDep, idempotency_key: _Key = None
) -> Response:
    return await _submit_one(request, algorithm_id, state, caller, PREDICT, idempotency_key)


@router.post(
    "/algorithms/{algorithm_id}/fit",
    status_code=202,
    response_model=None,
    responses={**_SUBMIT, 202: {"model": schemas.TaskResponse}},
    openapi_extra=schemas.FIT_FORM,
)
async def fit(
    algorithm_id: str, request: Request, state: StateDep, caller: CallerDep, idempotency_key: _Key = None
) -> Response:
    return await _submit_one(request, algorithm_id, state, caller, FIT, idempotency_key)


@router.post(
    "/algorithms/{algorithm_id}/predict/batch",
    status_code=202,
    response_model=schemas.AcceptedResponse,
    responses=_SUBMIT,
    openapi_extra=schemas.BATCH_FORM,
)
async def predict_batch(
    algorithm_id: str, request: Request, state: StateDep, caller: CallerDep, idempotency_key: _Key = None
) -> dict[str, Any]:
    await _check_algorithm(state, algorithm_id)
    max_tasks = state.limits.max_batch
    async with read_form(request, max_files=max_tasks + 1) as form:
        with _accept_span(request, algorithm_id) as span:
            job_ids, warnings = await run_in_threadpool(
                _accept_batch, state, algorithm_id, form, caller, max_tasks, idempotency_key, span.traceparent
            )
    return {"job_ids": job_ids, "warnings": warnings}


@router.get("/algorithms/tasks", response_model=schemas.TaskPage, responses=schemas.answers(401, 422, 503))
def list_tasks(
    state: StateDep,
    caller: CallerDep,
    status: Annotated[schemas.StatusFilter | None, Query()] = None,
    algorithm: Annotated[str | None, Query(max_length=128, pattern=schemas.TEXT)] = None,
    user: Annotated[str | None, Query(max_length=128, pattern=schemas.TEXT)] = None,
    id_prefix: Annotated[str | None, Query(max_length=36, pattern="^[0-9A-Fa-f-]*$")] = None,
    error: _Text = None,
    since: _Text = None,
    until: _Text = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> dict[str, Any]:
    wanted = TaskFilter(
        owner=requested_owner(state, caller, user),
        status=status,
        algorithm=algorithm,
        id_prefix=id_prefix or None,
        error=error or None,
        since=filter_seconds("since", since or None),
        until=filter_seconds("until", until or None),
    )
    after = None if cursor is None else _position(cursor)
    page = state.task_service.store.search.page(wanted, after=after, limit=limit)
    recorded_list(state, caller, "tasks-listed", page.tasks)
    counts = state.task_service.store.deliveries.status_counts([task["job_id"] for task in page.tasks])
    return {
        "tasks": [show_summary(task, counts[task["job_id"]]) for task in page.tasks],
        "next_cursor": None if page.position is None else cursors.encode(*page.position),
    }


@router.get(
    "/algorithms/tasks/{job_id}", response_model=None, responses={**_TASK, 200: {"model": schemas.TaskResponse}}
)
async def get_task(
    job_id: str, request: Request, state: StateDep, caller: CallerDep, again: AgainDep, wait: _Wait = 0.0
) -> Response:
    stage = await run_in_threadpool(_stage, state, caller, job_id) if wait else None
    if stage is not None:
        request.scope[WAITED] = True
        user_id, for_deliveries = caller.user.user_id, stage == "delivering"
        if await state.polls.wait(job_id, user_id, wait, request.receive, for_deliveries=for_deliveries):
            # The token may have been revoked meanwhile.
            caller = await run_in_threadpool(again)
    return _reply(await run_in_threadpool(_view, state, caller, job_id), 200)


@router.delete(
    "/algorithms/tasks/{job_id}",
    status_code=202,
    response_model=None,
    responses={**_TASK, **schemas.answers(409), 202: {"model": schemas.TaskResponse}},
)
def cancel_task(job_id: str, state: StateDep, caller: CallerDep) -> Response:
    cancel(state, caller, job_id)
    return _reply(_view(state, caller, job_id), 202)


def cancel(state: AppState, caller: Caller, job_id: str) -> None:
    """Cancel a task.

    Raises:
        HTTPException: 404 for an unknown task; 409 if it has ended.
    """
    task = task_of(state, caller, job_id, Right.MANAGE)
    if state.task_service.cancel(job_id) != CANCELED:
        raise HTTPException(409, f"The task {job_id} has already ended. Its results are kept.")
    acted_on(state, caller, "task-canceled", task)


@router.get("/algorithms/tasks/{job_id}/deliveries", response_model=list[schemas.DeliveryResponse], responses=_TASK)
def list_deliveries(job_id: str, state: StateDep, caller: CallerDep) -> list[dict[str, Any]]:
    task = task_of(state, caller, job_id, Right.SEE)
    return _deliveries(state, caller, task)


@router.post(
    "/algorithms/tasks/{job_id}/deliveries/{delivery_id}/redeliver",
    status_code=202,
    response_model=schemas.DeliveryResponse,
    responses={**_TASK, **schemas.answers(409, 413)},
    openapi_extra=schemas.REDELIVERY,
)
async def redeliver(
    job_id: str, delivery_id: str, request: Request, state: StateDep, caller: CallerDep
) -> dict[str, Any]:
    new = await run_in_threadpool(read_redelivery, Secret(await request.body()), state.rules, job_id)
    await run_in_threadpool(redeliver_to, new, state, caller, job_id, delivery_id)
    task = await run_in_threadpool(task_of, state, caller, job_id, Right.SEE)
    found = await run_in_threadpool(_deliveries, state, caller, task)
    return next(shown for shown in found if shown["delivery_id"] == delivery_id)


def redeliver_to(new: NewTarget | None, state: AppState, caller: Caller, job_id: str, delivery_id: str) -> None:
    """Redeliver a result, to a new target if there is one.

    Who may not read the result may give it a new signature for the same place, and may not send it elsewhere.

    Raises:
        HTTPException: 403 if the caller may not send the result there; 404 for an unknown task or delivery; 409 if the
            task has not ended, without a target, or the delivery was skipped.
        TargetError: The new target would change the document, doesn't fit, or is that of another delivery.
    """
    task = task_of(state, caller, job_id, Right.MANAGE)
    deliveries = state.task_service.store.deliveries.of(job_id)
    old = next((one for one in deliveries if one["delivery_id"] == delivery_id), None)
    if old is None:
        raise HTTPException(404, f"The task {job_id} has no delivery {delivery_id!r:.100}.")
    if old["status"] == SKIPPED and (new is None or task["finished_at"] is not None):
        raise HTTPException(
            409,
            f"The delivery {delivery_id} is skipped: its target subscribes to {old['events']}, not to this result. "
            'Get the result of the task, or submit it again with "completed" among the events.',
        )
    facts = {"delivery_id": delivery_id}
    if new is not None:
        stored = state.task_service.store.deliveries.targets(job_id).get(delivery_id)
        if not is_same_place(new.target, stored, state.rules, job_id):
            check_right(caller, task, Right.READ)
        facts |= {"old": old["url"], "new": str(new.target.callback.shown_url)}
    if not state.task_service.redeliver(job_id, delivery_id, new):
        raise HTTPException(409, f"The task {job_id} has not ended, so it has no result to deliver yet.")
    if new is None:
        acted_on(state, caller, "redelivered", task, **facts)
    else:
        state.audit.record_action("target-replaced", caller, owner=task["owner_name"], job_id=job_id, **facts)


async def _submit_one(
    request: Request, algorithm_id: str, state: AppState, caller: Caller, kind: str, key: str | None
) -> Response:
    await _check_algorithm(state, algorithm_id)
    async with read_form(request, max_files=2) as form:
        with _accept_span(request, algorithm_id) as span:
            view = await run_in_threadpool(_accept_one, state, algorithm_id, form, caller, kind, key, span.traceparent)
    return _reply(view, 202)


def _accept_span(request: Request, algorithm_id: str) -> AbstractContextManager[tracing.Span]:
    parent = request.headers.get(tracing.TRACEPARENT)
    return tracing.span("accept", "server", parent=parent, algorithm=algorithm_id)


async def _check_algorithm(state: AppState, algorithm_id: str) -> None:
    if algorithm_id not in state.rules.catalogue:
        # In a thread, as searching similar names takes a while.
        await run_in_threadpool(state.rules.catalogue.registered_versions, algorithm_id)


def _accept_one(
    state: AppState,
    algorithm_id: str,
    form: SubmittedForm,
    caller: Caller,
    kind: str,
    key: str | None,
    traceparent: str | None,
) -> TaskView:
    repeatable = read_key(key, form, kind, algorithm_id)
    if (before := _find_repeated(state, caller.user, repeatable)) is not None:
        return _view(state, caller, before[0])
    with ExitStack() as stack:
        received = read_one(
            form,
            algorithm_id,
            state.rules,
            state.task_service.scratch,
            stack,
            owner=caller.user.user_id,
            kind=kind,
            traceparent=traceparent,
        )
        state.quota.reserve(caller.user.user_id, 1)
        (accepted,) = state.task_service.submit([received], repeatable, max_bytes=state.limits.max_bytes)
    job_id = accepted.job_id
    _log.info("Task %s accepted.", job_id, extra={"action": "accept", "job_id": job_id})
    if accepted.created_at is None:
        return _view(state, caller, job_id)
    return show_new(received.submission, accepted, state.task_service.blobs, owner=caller.user.name)


def _accept_batch(
    state: AppState,
    algorithm_id: str,
    form: SubmittedForm,
    caller: Caller,
    max_tasks: int,
    key: str | None,
    traceparent: str | None,
) -> tuple[list[str], list[str]]:
    repeatable = read_key(key, without_signature(form, state.rules), "batch", algorithm_id)
    if (before := _find_repeated(state, caller.user, repeatable)) is not None:
        return before, []
    with ExitStack() as stack:
        received = read_batch(
            form,
            algorithm_id,
            state.rules,
            state.task_service.scratch,
            stack,
            owner=caller.user.user_id,
            max_tasks=max_tasks,
            traceparent=traceparent,
        )
        state.quota.reserve(caller.user.user_id, len(received))
        batch = read_done(form, state.rules)
        accepted = state.task_service.submit(received, repeatable, max_bytes=state.limits.max_bytes, batch=batch)
        job_ids = [task.job_id for task in accepted]
    _log.info("%d tasks accepted.", len(job_ids), extra={"action": "accept", "job_ids": job_ids})
    texts = (text for task in received for text in task.submission.task.options.get(WARNINGS, ()))
    return job_ids, list(itertools.islice(dict.fromkeys(texts), _MAX_WARNINGS))


def _find_repeated(state: AppState, user: User, key: IdempotencyKey | None) -> list[str] | None:
    # Before any other check: since the first request a URL may have expired, or the user's quota may be used up.
    return None if key is None else state.task_service.store.tasks.find_repeated(user.user_id, key)


def _stage(state: AppState, caller: Caller, job_id: str) -> str | None:
    """Return what a client may wait for, the end of the task or of its deliveries; None if there is nothing."""
    task = task_of(state, caller, job_id, Right.SEE)
    if task["status"] in OPEN:
        return "running"
    deliveries = state.task_service.store.deliveries.of(job_id)
    return "delivering" if any(one["status"] == DELIVERY_PENDING for one in deliveries) else None


def _view(state: AppState, caller: Caller, job_id: str) -> TaskView:
    task = task_of(state, caller, job_id, Right.SEE)
    return view_task(state, caller, task)


def view_task(state: AppState, caller: Caller, task: dict[str, Any]) -> TaskView:
    """Return the JSON of a task that the caller may see, with results if the caller may read them."""
    store, job_id = state.task_service.store, task["job_id"]
    may_read = caller.may(Right.READ, task["owner"])
    if may_read and not caller.owns(task["owner"]):
        state.audit.record_view("results-read", caller, owner=task["owner_name"], job_id=job_id)
    return show_task(
        task,
        store.deliveries.of(job_id),
        store.tasks.results(job_id) if may_read and task["result_offsets"] else None,
        state.task_service.blobs,
        trained_version=store.versions.of_task(job_id) if task["kind"] == FIT else None,
        outputs=store.output_files.of(job_id) if may_read and task["output_attempt"] is not None else (),
        may_read=may_read,
    )


def _deliveries(state: AppState, caller: Caller, task: Mapping[str, Any]) -> list[dict[str, Any]]:
    store, may_read = state.task_service.store, caller.may(Right.READ, task["owner"])
    attempts = store.deliveries.attempts(task["job_id"])
    return [show_delivery(one, attempts, may_read=may_read) for one in store.deliveries.of(task["job_id"])]


def _reply(view: TaskView, status: int) -> Response:
    if view.is_small:
        # Each chunk of a stream costs a thread switch, which would dominate the time of a small response.
        return Response(b"".join(view.chunks()), status, media_type="application/json")
    return StreamingResponse(
        view.chunks(), status, media_type="application/json", headers={"Content-Length": str(view.size)}
    )


def _position(cursor: str) -> tuple[float, str]:
    created_at, job_id = cursors.decode(cursor, float, str)
    return created_at, job_id
