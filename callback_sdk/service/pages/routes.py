"""Routes of the web UI."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, get_args
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from callback_sdk.errors import CallbackSDKError
from callback_sdk.models import IN_PROGRESS, PENDING, DeliveryFilter, outcome
from callback_sdk.redaction import Secret
from callback_sdk.service.access.caller import Right
from callback_sdk.service.access.tokens import TokenError
from callback_sdk.service.algorithms.versions import TEMPLATES, AlgorithmVersion
from callback_sdk.service.api import audit as audit_log
from callback_sdk.service.api import cursors, deliveries
from callback_sdk.service.api.access import AppState, address_of, owner_wanted, recorded_list, require_operator, task_of
from callback_sdk.service.api.replacement import read_new_target_text
from callback_sdk.service.api.schemas import StatusFilter
from callback_sdk.service.api.task_output import show_output
from callback_sdk.service.api.tasks import cancel as cancel_task
from callback_sdk.service.api.tasks import redeliver_to, view_task
from callback_sdk.service.api.views import expiry_of, show_delivery
from callback_sdk.service.pages.auth import caller, csrf_caller, csrf_session, same_origin_form, session
from callback_sdk.service.pages.charts import Series, bars, lines
from callback_sdk.service.pages.rendering import prefix_of, render
from callback_sdk.service.pages.sessions import COOKIE, SESSION_LIFETIME, Sessions, safe_next
from callback_sdk.service.store.models import FIT

_PAGE = 25
"""Number of tasks, or dead deliveries, per page."""

_MAX_SHOWN = 100
"""Maximum number of deliveries, attempts and output files on a task's page."""

_MINUTE, _MINUTES = 60.0, 60

_DELIVERIES = 5000
"""Maximum number of deliveries in the chart of latencies."""


async def log_in_form(request: Request) -> Response:
    place = safe_next(request.query_params.get("next"), prefix_of(request))
    return render(request, "login.html", next=place, problem=None)


async def log_in(request: Request) -> Response:
    form = await same_origin_form(request)
    name, place = str(form.get("username", "")), safe_next(str(form.get("next", "")), prefix_of(request))
    password, token = (Secret(str(form.get(field, "")).strip()) for field in ("password", "token"))
    try:
        cookie = await (_by_token(request, token) if token.reveal() else _by_password(request, name, password))
    except TokenError as error:
        return render(request, "login.html", status=401, next=place, problem=error.message)
    except HTTPException as error:
        answer = render(request, "login.html", status=error.status_code, next=place, problem=error.detail)
        answer.headers.update(error.headers or {})
        return answer
    answer = RedirectResponse(place, 303)
    answer.set_cookie(
        COOKIE,
        cookie.reveal(),
        max_age=int(SESSION_LIFETIME.total_seconds()),
        path=prefix_of(request),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return answer


async def _by_password(request: Request, name: str, password: Secret[str]) -> Secret[str]:
    sessions: Sessions = request.app.state.sessions
    return await _app_state(request).logins.run(
        lambda: sessions.by_password(name, password),
        name=name,
        password=password,
        address=address_of(request),
        via="pages",
    )


async def _by_token(request: Request, token: Secret[str]) -> Secret[str]:
    sessions: Sessions = request.app.state.sessions
    log = _app_state(request).audit
    try:
        user, cookie = await run_in_threadpool(sessions.by_token, token)
    except TokenError:
        log.record("login-failed", None, address=address_of(request), via="pages")
        raise
    await run_in_threadpool(log.record, "login", user.name, address=address_of(request), via="pages")
    return cookie


async def log_out(request: Request) -> Response:
    user_session = await csrf_session(request)
    sessions: Sessions = request.app.state.sessions
    await run_in_threadpool(sessions.close, user_session)
    log, address = _app_state(request).audit, address_of(request)
    await run_in_threadpool(log.record, "logout", user_session.user.name, address=address, via="pages")
    answer = RedirectResponse(f"{prefix_of(request)}/login", 303)
    answer.delete_cookie(COOKIE, path=prefix_of(request))
    return answer


def tasks(request: Request) -> Response:
    asking, state = caller(request), _app_state(request)
    query = request.query_params
    status, algorithm, user, cursor = (query.get(name) or None for name in ("status", "algorithm", "user", "cursor"))
    if status is not None and status not in get_args(StatusFilter):
        raise HTTPException(422, f"Unknown status: {status!r:.100}.")
    store = state.task_service.store
    found = store.tasks.page(
        owner_wanted(state, asking, user),
        status=status,
        algorithm=algorithm,
        after=None if cursor is None else cursors.decode(cursor, float, str),
        limit=_PAGE + 1,
    )
    shown = found[:_PAGE]
    recorded_list(state, asking, "tasks-listed", shown)
    more = cursors.encode(shown[-1]["created_at"], shown[-1]["job_id"]) if len(found) > _PAGE else None
    chosen = {name: value for name, value in (("status", status), ("algorithm", algorithm), ("user", user)) if value}
    return render(
        request,
        "tasks.html",
        tasks=shown,
        delivery_counts=store.deliveries.status_counts([task["job_id"] for task in shown]),
        statuses=get_args(StatusFilter),
        algorithms=sorted({*state.task_service.registry, *([algorithm] if algorithm else [])}),
        status_chosen=status,
        algorithm_chosen=algorithm,
        user_chosen=user,
        is_operator=asking.is_operator,
        first=f"{prefix_of(request)}/tasks?{urlencode(chosen)}",
        further=f"{prefix_of(request)}/tasks?{urlencode({**chosen, 'cursor': more})}" if more else None,
        is_first="cursor" not in query,
    )


def task(request: Request) -> Response:
    asking, state = caller(request), _app_state(request)
    found = task_of(state, asking, request.path_params["job_id"], Right.SEE)
    may_read = asking.may(Right.READ, found["owner"])
    attempts = state.task_service.store.deliveries.attempts(found["job_id"])
    all_deliveries = state.task_service.store.deliveries.of(found["job_id"])
    outputs = state.task_service.store.output_files.of(found["job_id"]) if may_read else []
    shown = [show_delivery(delivery, attempts) for delivery in all_deliveries[:_MAX_SHOWN]]
    moving = found["status"] in (PENDING, IN_PROGRESS) or any(item["status"] == "pending" for item in shown)
    return render(
        request,
        "task.html",
        task=found,
        is_own=asking.owns(found["owner"]),
        may_read=may_read,
        deliveries=shown,
        more_deliveries=len(all_deliveries) - len(shown),
        outputs=outputs[:_MAX_SHOWN],
        more_outputs=max(0, len(outputs) - _MAX_SHOWN),
        trained_version=state.task_service.store.versions.of_task(found["job_id"]) if found["kind"] == FIT else None,
        output=show_output(state.task_service.store.output.read(found["job_id"])),
        timeline=_timeline(found, shown)[-_MAX_SHOWN:],
        expires_at=expiry_of(found) if found["started_at"] is None and found["finished_at"] is None else None,
        can_cancel=found["status"] in (PENDING, IN_PROGRESS),
        moving=moving,
    )


def results(request: Request) -> Response:
    asking, state = caller(request), _app_state(request)
    found = task_of(state, asking, request.path_params["job_id"], Right.READ, viewing="results-read")
    view = view_task(state, asking, found)
    headers = {
        "Content-Length": str(view.size),
        "Content-Disposition": f'attachment; filename="task-{found["job_id"]}.json"',
    }
    return StreamingResponse(view.chunks(), media_type="application/json", headers=headers)


async def cancel(request: Request) -> Response:
    asking, state, job_id = await csrf_caller(request), _app_state(request), request.path_params["job_id"]
    await run_in_threadpool(cancel_task, state, asking, job_id)
    return RedirectResponse(f"{prefix_of(request)}/tasks/{job_id}", 303)


async def redeliver(request: Request) -> Response:
    asking, state = await csrf_caller(request), _app_state(request)
    job_id, delivery_id = request.path_params["job_id"], request.path_params["delivery_id"]
    text = Secret(str((await request.form()).get("target", "")))

    def deliver() -> None:
        new = read_new_target_text(text, state.rules, job_id)
        redeliver_to(new, state, asking, job_id, delivery_id)

    await run_in_threadpool(deliver)
    return RedirectResponse(f"{prefix_of(request)}/tasks/{job_id}", 303)


def dead_deliveries(request: Request) -> Response:
    asking, state, query = caller(request), _app_state(request), request.query_params
    wanted = DeliveryFilter.from_dict({"status": "dead", **query})
    shown, more = deliveries.find(state, asking, wanted, limit=_PAGE, cursor=query.get("cursor"))
    return render(
        request,
        "deliveries.html",
        deliveries=shown,
        further=f"{prefix_of(request)}/deliveries?{urlencode({**wanted.to_dict(), 'cursor': more})}" if more else None,
    )


def audit(request: Request) -> Response:
    state, query = _app_state(request), request.query_params
    require_operator(caller(request))
    entries, more = audit_log.find(state, query, limit=_PAGE, cursor=query.get("cursor"))
    chosen = {name: query[name] for name in audit_log.FILTERS if query.get(name)}
    return render(
        request,
        "audit.html",
        entries=entries,
        chosen=chosen,
        further=f"{prefix_of(request)}/audit?{urlencode({**chosen, 'cursor': more})}" if more else None,
    )


def algorithms(request: Request) -> Response:
    session(request)
    registry = _app_state(request).task_service.registry
    return render(request, "algorithms.html", algorithms=[registry.versions(name) for name in registry])


def algorithm(request: Request) -> Response:
    user_session = session(request)
    versions = _app_state(request).task_service.registry.versions(request.path_params["name"])
    shown = [
        {
            "algorithm": version,
            "templates": [(kind, text.decode()) for kind in TEMPLATES if (text := version.template(kind)) is not None],
        }
        for version in reversed(versions)
    ]
    name = versions[-1].name
    trained = _app_state(request).rules.catalogue.trained(user_session.user.user_id, name)
    return render(request, "algorithm.html", name=name, versions=shown, trained=trained[::-1][:_MAX_SHOWN])


def graph(request: Request) -> Response:
    picture = _algorithm(request).graph(request.query_params.get("type"))
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


async def health(request: Request) -> Response:
    await run_in_threadpool(session, request)
    problem = None
    try:
        await request.app.state.readiness.wait()
    except CallbackSDKError as error:
        problem = str(error)
    figures = {} if problem else await run_in_threadpool(_statistics, _app_state(request))
    workers = await run_in_threadpool(_app_state(request).task_service.engine.workers)
    return render(request, "health.html", problem=problem, figures=figures, processes=workers)


def _statistics(state: AppState) -> dict[str, Any]:
    store = state.task_service.store
    ended = store.stats.ended(bucket_seconds=_MINUTE, count=_MINUTES)
    ages = [one.age for one in ended]
    latencies = _by_minute(store.stats.latencies(within=_MINUTE * _MINUTES, limit=_DELIVERIES), ages)
    ends = (f"{_MINUTES} minutes ago", "now")
    p50, p95 = ([_share(found, share) for found in latencies] for share in (0.5, 0.95))
    return {
        "tasks": store.tasks.counts(),
        "deliveries": store.deliveries.counts(),
        "queued": {name: load.queued for name, load in store.stats.loads().items() if load.queued},
        "workers": store.workers.all(),
        "throughput": bars(
            "Ended tasks per minute",
            [
                Series(name="Succeeded", values=[one.succeeded for one in ended]),
                Series(name="Failed", values=[one.failed for one in ended]),
            ],
            unit="tasks",
            ends=ends,
        ),
        "latency": lines(
            "Delivery latency per minute",
            [Series(name="p50", values=p50), Series(name="p95", values=p95)],
            unit="seconds",
            ends=ends,
        ),
        "minutes": [
            row for row in zip(ended, p50, p95, strict=True) if row[0].succeeded or row[0].failed or row[1] is not None
        ],
    }


def _by_minute(found: Sequence[tuple[float, float]], ages: Sequence[int]) -> list[list[float]]:
    minutes: dict[int, list[float]] = {age: [] for age in ages}
    for age, latency in found:
        minutes.get(int(age // _MINUTE), []).append(max(0.0, latency))
    return list(minutes.values())


def _share(values: list[float], share: float) -> float | None:
    if len(values) < 2:
        return values[0] if values else None
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]


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


def _algorithm(request: Request) -> AlgorithmVersion:
    name, version = request.path_params["name"], request.query_params.get("version")
    return _app_state(request).rules.catalogue.get(session(request).user.user_id, name, version).algorithm


def _app_state(request: Request) -> AppState:
    state: AppState = request.app.state.app_state
    return state
