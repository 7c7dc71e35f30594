"""Routes of the overview, and of the audit log."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from callback_sdk.service.api import audit as audit_log
from callback_sdk.service.api.access import recorded_list, require_operator
from callback_sdk.service.pages.auth import app_state, caller
from callback_sdk.service.pages.lists import PAGE, link, text_of, time_of
from callback_sdk.service.pages.rendering import render
from callback_sdk.service.store.search import TaskFilter

_GROUPS, _FAILED = 10, 5
"""Maximum numbers of groups of deliveries of one state, and of failed tasks."""

_TEXTS, _TIMES = ("action", "actor", "owner", "job_id"), ("since", "until")


def overview(request: Request) -> Response:
    """Show what needs attention: of all users for operators, and otherwise of the user."""
    asking, state = caller(request), app_state(request)
    store = state.task_service.store
    failed = store.search.page(TaskFilter(owner=asking.scope, status="failed"), limit=_FAILED).tasks
    recorded_list(state, asking, "tasks-listed", failed)
    return render(
        request,
        "overview.html",
        groups=store.attention.groups(owner=asking.scope, limit=_GROUPS),
        failed=failed,
        tasks=store.tasks.counts(),
        oldest=store.stats.oldest_queued(),
        is_operator=asking.is_operator,
    )


def audit(request: Request) -> Response:
    state, query = app_state(request), request.query_params
    require_operator(caller(request))
    chosen = {name: text for name in (*_TEXTS, *_TIMES) if (text := text_of(query, name)) is not None}
    times = {name: time_of(query, name) for name in _TIMES}
    # With their zone, as the REST API takes them.
    wanted = chosen | {name: time.isoformat() for name, time in times.items() if time is not None}
    cursor = text_of(query, "cursor")
    entries, more = audit_log.find(state, wanted, limit=PAGE, cursor=cursor)
    return render(
        request,
        "audit.html",
        entries=entries,
        chosen=chosen,
        since=times["since"],
        until=times["until"],
        first=link(request, "/audit", chosen),
        further=None if more is None else link(request, "/audit", chosen, cursor=more),
        is_first=cursor is None,
    )
