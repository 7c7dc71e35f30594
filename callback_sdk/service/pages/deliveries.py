"""Routes of deliveries: those that need attention, a list with a filter, and redelivery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from callback_sdk.models import DeliveryFilter
from callback_sdk.redaction import Secret
from callback_sdk.service.access.caller import Caller, Right
from callback_sdk.service.api import deliveries as found_deliveries
from callback_sdk.service.api.access import AppState, requested_owner, task_of
from callback_sdk.service.api.replacement import read_new_target_text
from callback_sdk.service.api.schemas import DeliveryState
from callback_sdk.service.api.tasks import redeliver_to
from callback_sdk.service.pages.auth import app_state, caller, csrf_caller
from callback_sdk.service.pages.lists import PAGE, back_to, link, notice_of, text_of, time_of
from callback_sdk.service.pages.rendering import prefix_of, render
from callback_sdk.service.store.models import DELIVERED

_FILTERS = ("status", "host", "algorithm", "user", "error", "since", "until")

_GROUPS = 20
"""Maximum number of groups of one state."""

_MAX_REDELIVERED, _MAX_SCANNED, _STEP = 1000, 10_000, 200
"""Maximum numbers of deliveries that one request redelivers and reads, and the number in one transaction."""


def deliveries(request: Request) -> Response:
    asking, state, query = caller(request), app_state(request), request.query_params
    wanted, chosen = _filter(query, default="dead")
    cursor = text_of(query, "cursor")
    shown, more = found_deliveries.find(state, asking, wanted, limit=PAGE, cursor=cursor)
    # Of which user is checked by `find`.
    owner = requested_owner(state, asking, wanted.user)
    return render(
        request,
        "deliveries.html",
        deliveries=shown,
        groups=state.task_service.store.attention.groups(owner=owner, limit=_GROUPS) if cursor is None else [],
        statuses=get_args(DeliveryState),
        algorithms=sorted({*state.task_service.registry, *([wanted.algorithm] if wanted.algorithm else [])}),
        wanted=wanted,
        chosen=chosen,
        is_operator=asking.is_operator,
        is_filtered=chosen != {"status": "dead"},
        first=link(request, "/deliveries", chosen),
        further=None if more is None else link(request, "/deliveries", chosen, cursor=more),
        here_now=link(request, "/deliveries", chosen, cursor=cursor),
        is_first=cursor is None,
        notice=notice_of(query),
    )


def _filter(query: Mapping[str, str], default: str | None) -> tuple[DeliveryFilter, dict[str, str]]:
    """Return the filter of a query, and its texts by name.

    Raises:
        HTTPException: 422 for a filter that can't be used.
    """
    chosen = {name: text for name in _FILTERS if (text := text_of(query, name)) is not None}
    # A form sends no status for any status; a link without a filter is one to the dead deliveries.
    if not any(name in query for name in _FILTERS) and default is not None:
        chosen["status"] = default
    texts: dict[str, Any] = {name: chosen.get(name) for name in _FILTERS[:5]}
    return DeliveryFilter(**texts, since=time_of(query, "since"), until=time_of(query, "until")), chosen


async def redeliver(request: Request) -> Response:
    """Redeliver one delivery, to a new target if the form has one."""
    asking, state, form = await csrf_caller(request), app_state(request), await request.form()
    job_id, delivery_id = request.path_params["job_id"], request.path_params["delivery_id"]
    text = Secret(str(form.get("target", "")))
    place = str(form.get("next", ""))
    confirmed = form.get("confirm") == "yes"

    def deliver() -> Response:
        new = read_new_target_text(text, state.rules, job_id)
        if new is None and not confirmed and _is_delivered(state, asking, job_id, delivery_id):
            return _ask_to_repeat(request, job_id, delivery_id, place)
        redeliver_to(new, state, asking, job_id, delivery_id)
        return RedirectResponse(back_to(request, place, f"/tasks/{job_id}", redelivered=1), 303)

    return await run_in_threadpool(deliver)


def _is_delivered(state: AppState, asking: Caller, job_id: str, delivery_id: str) -> bool:
    task_of(state, asking, job_id, Right.MANAGE)
    found = state.task_service.store.deliveries.of(job_id)
    return any(one["delivery_id"] == delivery_id and one["status"] == DELIVERED for one in found)


def _ask_to_repeat(request: Request, job_id: str, delivery_id: str, place: str) -> Response:
    return render(
        request,
        "confirm.html",
        title="Deliver this result again?",
        text="The target has it already. It receives the same document with the same id once more.",
        items=[delivery_id],
        more=0,
        action=f"{prefix_of(request)}/tasks/{job_id}/deliveries/{delivery_id}/redeliver",
        fields=[("next", place)],
        button="Deliver again",
        destructive=False,
        back=back_to(request, place, f"/tasks/{job_id}"),
    )


async def redeliver_several(request: Request) -> Response:
    """Redeliver the selected deliveries, or all that a filter selects, after a confirmation."""
    asking, state = await csrf_caller(request), app_state(request)
    form = await request.form()
    values = {name: str(value) for name, value in form.multi_items() if name != "selected"}
    selected = [str(value)[:200] for value in form.getlist("selected")]
    return await run_in_threadpool(_redeliver_several, request, state, asking, values, selected)


def _redeliver_several(
    request: Request, state: AppState, asking: Caller, values: Mapping[str, str], selected: list[str]
) -> Response:
    wanted, chosen = _filter(values, default=None)
    place, is_all = values.get("next", ""), values.get("choice") == "all"
    count = len(selected)
    if is_all:
        first = found_deliveries.redeliver(state, asking, wanted, limit=1, dry_run=True)
        count = first.total or 0
    if not count:
        return RedirectResponse(back_to(request, place, "/deliveries", nothing=1), 303)
    if values.get("confirm") != "yes":
        number = f"{count} deliveries" if count != 1 else "one delivery"
        return render(
            request,
            "confirm.html",
            title=f"Redeliver {number}?",
            text=_confirmation_text(chosen) if is_all else "The selected results are sent again at once.",
            items=selected,
            more=0,
            action=f"{prefix_of(request)}/deliveries/redeliver",
            fields=[*chosen.items(), ("choice", values.get("choice", "selected")), ("next", place)]
            + [("selected", one) for one in selected if not is_all],
            button=f"Redeliver {number}",
            destructive=False,
            back=back_to(request, place, "/deliveries"),
        )
    if is_all:
        done = _redeliver_all(state, asking, wanted)
    else:
        done = {"redelivered": sum(_try_to_redeliver(state, asking, one) for one in selected)}
    return RedirectResponse(back_to(request, place, "/deliveries", **done), 303)


def _confirmation_text(chosen: Mapping[str, str]) -> str:
    parts = ", ".join(f"{name} {value!r}" for name, value in chosen.items())
    limit = f"At most {_MAX_REDELIVERED} are sent at a time; repeat it for the next ones."
    return f"All that match the filter are sent again at once: {parts or 'all'}. {limit}"


def _redeliver_all(state: AppState, asking: Caller, wanted: DeliveryFilter) -> dict[str, int]:
    """Redeliver what a filter selects, up to a limit, and return the numbers of the notice."""
    due = skipped = 0
    cursor: str | None = None
    for _ in range(_MAX_SCANNED // _STEP):
        page = found_deliveries.redeliver(state, asking, wanted, limit=_STEP, cursor=cursor)
        due, skipped, cursor = due + len(page.due), skipped + len(page.skipped), page.next_cursor
        if cursor is None or due >= _MAX_REDELIVERED:
            break
    return {"redelivered": due, "skipped": skipped, "left": int(cursor is not None)}


def _try_to_redeliver(state: AppState, asking: Caller, selected: str) -> bool:
    """Redeliver one selected delivery, unless it isn't the caller's; return whether it was."""
    job_id, _, delivery_id = selected.partition("/")
    try:
        redeliver_to(None, state, asking, job_id, delivery_id)
    except HTTPException:
        return False
    return True
