"""Pages of the hosts that deliveries go to, for operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from callback_sdk.concurrency.circuit import HostLimits
from callback_sdk.config.values import RATES, rate, whole_number
from callback_sdk.service.access.caller import Caller
from callback_sdk.service.api import hosts as actions
from callback_sdk.service.api.access import AppState, require_operator
from callback_sdk.service.pages.auth import caller, csrf_caller
from callback_sdk.service.pages.rendering import prefix_of, render

Change = Callable[[AppState, Caller, str], Any]


def show(request: Request) -> Response:
    require_operator(caller(request))
    store = request.app.state.app_state.task_service.store.hosts
    return render(request, "hosts.html", hosts=store.all(limit=200), webhooks=store.disabled_webhooks(limit=200))


async def pause(request: Request) -> Response:
    return await _change(request, actions.pause)


async def resume(request: Request) -> Response:
    return await _change(request, actions.resume)


async def limit(request: Request) -> Response:
    await csrf_caller(request)
    form = await request.form()
    limits = HostLimits(
        max_concurrency=_read(form.get("max_concurrency"), whole_number(1, 10_000), "a whole number from 1 to 10000"),
        max_rate=_read(form.get("max_rate"), rate, RATES),
    )
    return await _change(request, lambda state, by, host: actions.limit(state, by, host, limits))


async def _change(request: Request, change: Change) -> Response:
    by = require_operator(await csrf_caller(request))
    host = str((await request.form()).get("host", ""))[:2000]
    await run_in_threadpool(change, request.app.state.app_state, by, host)
    return RedirectResponse(f"{prefix_of(request)}/hosts", 303)


def _read(text: Any, parse: Callable[[str], Any], takes: str) -> Any:
    if not str(text or "").strip():
        return None
    try:
        return parse(str(text))
    except ValueError:
        raise HTTPException(422, f"{str(text)!r:.100} is not {takes}.") from None
