"""Routes of the hosts that deliveries go to, for operators: circuits, pauses and limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import asdict
from fastapi import APIRouter

from callback_sdk.concurrency.circuit import HostLimits
from callback_sdk.errors import InvalidTargetError
from callback_sdk.redaction import SecretURL
from callback_sdk.service.access.caller import Caller
from callback_sdk.service.api import schemas
from callback_sdk.service.api.access import AppState, OperatorDep, StateDep
from callback_sdk.service.api.views import show_host, show_webhook
from callback_sdk.service.store.hosts import HostState, HostStore
from callback_sdk.targets.hosts import check_url, origin

_CHANGE = schemas.answers(400, 401, 403, 413, 422, 503)

router = APIRouter(prefix="/api/v2", tags=["operations"])


@router.get("/hosts", response_model=schemas.HostList, responses=schemas.answers(401, 403, 503))
def list_hosts(state: StateDep, caller: OperatorDep) -> dict[str, Any]:
    store = state.task_service.store.hosts
    return {
        "hosts": [show_host(one) for one in store.all()],
        "disabled_webhooks": [show_webhook(one) for one in store.disabled_webhooks()],
    }


@router.post("/hosts/pause", response_model=schemas.HostChange, responses=_CHANGE)
def pause_host(state: StateDep, caller: OperatorDep, body: schemas.HostRequest) -> dict[str, Any]:
    return _show(state, pause(state, caller, body.host))


@router.post("/hosts/resume", response_model=schemas.HostChange, responses=_CHANGE)
def resume_host(state: StateDep, caller: OperatorDep, body: schemas.HostRequest) -> dict[str, Any]:
    return _show(state, *resume(state, caller, body.host))


@router.post("/hosts/limit", response_model=schemas.HostChange, responses=_CHANGE)
def limit_host(state: StateDep, caller: OperatorDep, body: schemas.HostLimitsRequest) -> dict[str, Any]:
    limits = HostLimits(max_concurrency=body.max_concurrency, max_rate=body.max_rate)
    return _show(state, limit(state, caller, body.host, limits))


def pause(state: AppState, caller: Caller, text: str) -> list[str]:
    """Send nothing to hosts until they are resumed, and return them.

    Args:
        state: The application's state.
        caller: The operator.
        text: A URL of the host, or its name with or without a port; see `find_hosts`.

    Raises:
        InvalidTargetError: The text names no host.
    """
    store = state.task_service.store.hosts
    found = find_hosts(store, text)
    for host in found:
        store.pause(host, by=caller.user.name)
    _record(state, caller, "host-paused", found)
    return found


def resume(state: AppState, caller: Caller, text: str) -> tuple[list[str], int]:
    """Send to hosts again, or to a webhook that was gone, whose host stays as it is; see `pause`.

    Returns:
        The hosts that are resumed, and the number of webhooks that are enabled again.
    """
    store = state.task_service.store.hosts
    found = find_hosts(store, text)
    enabled = store.enable_webhooks(str(SecretURL(text))) if "://" in text else 0
    resumed = [] if enabled else found
    for host in resumed:
        store.resume(host)
    state.task_service.runtime.wakeup.set()
    _record(state, caller, "host-resumed", found, webhooks=enabled or None)
    return resumed, enabled


def limit(state: AppState, caller: Caller, text: str, limits: HostLimits) -> list[str]:
    """Limit the deliveries to hosts, and return the hosts; see `pause`."""
    store = state.task_service.store.hosts
    found = find_hosts(store, text)
    for host in found:
        store.limit(host, limits)
    state.task_service.runtime.wakeup.set()
    _record(state, caller, "host-limited", found, **asdict(limits))
    return found


def find_hosts(store: HostStore, text: str) -> list[str]:
    """Return the hosts that a text names, as scheme, host and port.

    A URL names one. A name without a scheme names the known hosts with this name, and with this port if it has one; if
    none is known, those with https and http.

    Raises:
        InvalidTargetError: The text is neither a URL nor a name.
    """
    if "://" in text:
        url = SecretURL(text)
        check_url(url)
        return [origin(url)]
    url = SecretURL(f"https://{text}")
    check_url(url)
    if url.path not in ("", "/"):
        raise InvalidTargetError("The host has a path, and no scheme.", hint="Give a complete URL, or the host alone.")
    known = store.known_as(url.host)
    same_port = known if url.port is None else [one for one in known if SecretURL(one).port == url.port]
    # Hosts that work, and have no pending delivery, are not known: a pause of another scheme would hold nothing.
    return same_port or [origin(url), origin(SecretURL(f"http://{text}"))]


def _show(state: AppState, hosts: Sequence[str], enabled: int = 0) -> dict[str, Any]:
    known = {one.host: one for one in state.task_service.store.hosts.all()}
    closed = [known.get(host) or HostState(host=host, state="closed") for host in hosts]
    return {"hosts": [show_host(one) for one in closed], "enabled_webhooks": enabled}


def _record(state: AppState, caller: Caller, action: Any, hosts: Sequence[str], **facts: Any) -> None:
    for host in hosts:
        state.audit.record_action(action, caller, host=host, **facts)
