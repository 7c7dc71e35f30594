"""Authentication of requests, and limits per request and user."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

from attrs import define
from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from callback_sdk.redaction import Secret
from callback_sdk.service.access.audit import Action, AuditLog
from callback_sdk.service.access.caller import Caller, Right
from callback_sdk.service.access.users import Authenticator
from callback_sdk.service.api.event_streams import EventStreams
from callback_sdk.service.api.logins import LoginQueue
from callback_sdk.service.api.long_polls import LongPolls
from callback_sdk.service.api.submission import Rules
from callback_sdk.service.api.waiters import MAX_WAITERS
from callback_sdk.service.api.watches import Watches
from callback_sdk.service.core import TaskService
from callback_sdk.service.store import Store

MIB = 1024 * 1024

_bearer = HTTPBearer(auto_error=False, description="An API token, or an access token of /token/.")

_SET_ROLE = "callback-sdk users set-role NAME operator"

_CACHE_SECONDS = 5.0
"""Seconds for which a user's task count is cached; tasks accepted meanwhile are added."""


@define(frozen=True, kw_only=True)
class ServiceLimits:
    """Limits per request and per user.

    Attributes:
        max_request_bytes: Maximum bytes of a request with files; the limit of others is 1 MiB.
        max_callbacks: Maximum number of targets of a task.
        max_tasks: Maximum number of a user's tasks that have not ended.
        max_bytes: Storage quota of a user, in bytes; see `docs/access.md`.
        max_batch: Maximum number of tasks of a request.
        max_waiters: Maximum number of clients that wait for tasks; half of them of one user.
    """

    max_request_bytes: int = 256 * MIB
    max_callbacks: int = 10
    max_tasks: int = 100_000
    max_bytes: float = 100 * 1024 * MIB
    max_batch: int = 1000
    max_waiters: int = MAX_WAITERS


class Quota:
    """Limits the number of each user's tasks that have not ended. Concurrent requests may slightly exceed it.

    Args:
        store: The store that counts them.
        max_tasks: Maximum number of tasks.
    """

    def __init__(self, store: Store, max_tasks: int) -> None:
        self._store = store
        self._max_tasks = max_tasks
        self._lock = threading.Lock()
        self._counts: dict[str, tuple[int, float]] = {}

    def reserve(self, owner: str, count: int) -> None:
        """Add new tasks of a user.

        Raises:
            HTTPException: 429 if the limit would be exceeded.
        """
        known, at = self._counts.get(owner, (0, 0.0))
        if time.monotonic() - at > _CACHE_SECONDS or known + count > self._max_tasks:
            known, at = self._store.tasks.open_count(owner, at_most=self._max_tasks), time.monotonic()
        if known + count > self._max_tasks:
            raise HTTPException(
                429,
                f"You have {known} queued or running tasks, and the limit is {self._max_tasks}. Wait, or cancel some.",
                headers={"Retry-After": "10"},
            )
        with self._lock:
            self._counts[owner] = (known + count, at)


@define(frozen=True, kw_only=True)
class AppState:
    """Objects that the routes work with; the application holds them as `app.state.app_state`.

    Attributes:
        task_service: The service.
        rules: Rules that submissions are validated by.
        limits: Limits of one request.
        quota: Limit of tasks per user.
        authenticator: Authenticates tokens.
        logins: Checks passwords, with rate limits.
        audit: The audit log.
        watches: Tells waiting clients which tasks have changed.
        polls: The long polls.
        events: The event streams.
    """

    task_service: TaskService
    rules: Rules
    limits: ServiceLimits
    quota: Quota
    authenticator: Authenticator
    logins: LoginQueue
    audit: AuditLog
    watches: Watches
    polls: LongPolls
    events: EventStreams


async def _app_state(request: Request) -> AppState:
    # A coroutine, as FastAPI would run a plain function in a thread.
    state: AppState = request.app.state.app_state
    return state


StateDep = Annotated[AppState, Depends(_app_state)]


def address_of(request: Request) -> str:
    """Return the client's address: from a trusted proxy's header, otherwise the peer's."""
    return request.client.host if request.client is not None else "unknown"


def authenticate(
    state: StateDep, request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    """Return the caller of a request.

    Raises:
        TokenError: The token is invalid, expired or revoked.
        HTTPException: 401 if there is no token.
    """
    token = Secret(given.credentials if given is not None else "")
    del given
    return _caller(state, request, token)


async def _authenticating_again(
    state: StateDep, request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Callable[[], Caller]:
    """Return a function that authenticates a request again: tokens and rights may end while a client waits."""
    token = Secret(given.credentials if given is not None else "")
    del given
    return lambda: _caller(state, request, token)


def _caller(state: AppState, request: Request, token: Secret[str]) -> Caller:
    if not token.reveal():
        raise HTTPException(
            401,
            "The request has no token. Send a token as Authorization: Bearer; the token of the first user is in the "
            "file token of the service's data directory.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return Caller(user=state.authenticator.authenticate_token(token), via="api", address=address_of(request))


CallerDep = Annotated[Caller, Depends(authenticate)]

AgainDep = Annotated[Callable[[], Caller], Depends(_authenticating_again)]


def require_operator(caller: CallerDep) -> Caller:
    """Return the caller of a request for operators.

    Raises:
        HTTPException: 403 for other users.
    """
    if not caller.is_operator:
        raise HTTPException(
            403, f"{caller.user.name!r:.100} is not an operator. An operator can change that: {_SET_ROLE}."
        )
    return caller


OperatorDep = Annotated[Caller, Depends(require_operator)]


def task_of(
    state: AppState, caller: Caller, job_id: str, right: Right, *, viewing: Action = "task-viewed"
) -> dict[str, Any]:
    """Return the columns of a task to which the caller has a right. Another user's task is recorded as viewed.

    Args:
        state: The application's state.
        caller: Who asks.
        job_id: The task.
        right: The required right.
        viewing: What is recorded of another user's task.

    Raises:
        HTTPException: 404 if it doesn't exist. Tasks that the caller may not see are a 404 too: a 403 would disclose
            which ids exist. 403 if the caller may see the task, and lacks the right.
    """
    # PostgreSQL rejects text with a NUL, even as a parameter of a query.
    task = None if "\0" in job_id else state.task_service.store.tasks.get(job_id, owner=caller.scope)
    if task is None:
        raise HTTPException(404, f"Task {job_id!r:.100} not found.")
    check_right(caller, task, right)
    if not caller.owns(task["owner"]):
        state.audit.record_view(viewing, caller, owner=task["owner_name"], job_id=job_id)
    return task


def check_right(caller: Caller, task: Mapping[str, Any], right: Right) -> None:
    """Check that the caller, who may see a task, has a further right to it.

    Raises:
        HTTPException: 403 if the caller lacks it.
    """
    if not caller.may(right, task["owner"]):
        raise HTTPException(
            403,
            f"The task {task['job_id']} belongs to {task['owner_name']!r:.100}, and {caller.user.name!r:.100} may see "
            f"and manage it, but not read its results. An operator can change that: {_SET_ROLE} --may-read.",
        )


def acted_on(state: AppState, caller: Caller, action: Action, task: Mapping[str, Any], **facts: Any) -> None:
    """Record an action on another user's task."""
    if not caller.owns(task["owner"]):
        state.audit.record_action(action, caller, owner=task["owner_name"], job_id=task["job_id"], **facts)


def recorded_list(state: AppState, caller: Caller, action: Action, shown: Iterable[Mapping[str, Any]]) -> None:
    """Record a list with tasks or deliveries of other users."""
    if any(not caller.owns(one["owner"]) for one in shown):
        state.audit.record_view(action, caller)


def requested_owner(state: AppState, caller: Caller, name: str | None) -> str | None:
    """Return the id of the only user whose tasks a list shall have; None for those of all users.

    Args:
        state: The application's state.
        caller: Who asks.
        name: Name of a user; None for all users whose tasks the caller may see.

    Raises:
        HTTPException: 403 if the caller may not see the tasks of this user, 422 if the user doesn't exist.
    """
    if name is None or name == caller.user.name:
        return caller.scope if name is None else caller.user.user_id
    require_operator(caller)
    user = state.task_service.store.users.find(name)
    if user is None:
        raise HTTPException(422, f"The user {name!r:.100} doesn't exist. callback-sdk users list shows all users.")
    return user.user_id
