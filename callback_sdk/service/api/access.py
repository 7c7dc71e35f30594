"""Authentication of requests, and limits per request and user."""

from __future__ import annotations

import threading
import time
from typing import Annotated, Any

from attrs import define
from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from callback_sdk.redaction import Secret
from callback_sdk.service.access.users import Authenticator
from callback_sdk.service.api.logins import LoginQueue
from callback_sdk.service.api.submission import Rules
from callback_sdk.service.core import TaskService
from callback_sdk.service.store import Store, User

MIB = 1024 * 1024

_bearer = HTTPBearer(auto_error=False, description="An API token, or an access token of /token/.")

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
    """

    max_request_bytes: int = 256 * MIB
    max_callbacks: int = 10
    max_tasks: int = 100_000
    max_bytes: float = 100 * 1024 * MIB
    max_batch: int = 1000


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
    """

    task_service: TaskService
    rules: Rules
    limits: ServiceLimits
    quota: Quota
    authenticator: Authenticator
    logins: LoginQueue


async def _app_state(request: Request) -> AppState:
    # A coroutine, as FastAPI would run a plain function in a thread.
    state: AppState = request.app.state.app_state
    return state


StateDep = Annotated[AppState, Depends(_app_state)]


def address_of(request: Request) -> str:
    """Return the client's address: from a trusted proxy's header, otherwise the peer's."""
    return request.client.host if request.client is not None else "unknown"


def authenticate(state: StateDep, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> User:
    """Return the user of a request.

    Raises:
        TokenError: The token is invalid, expired or revoked.
        HTTPException: 401 if there is no token.
    """
    token = Secret(given.credentials if given is not None else "")
    del given
    if not token.reveal():
        raise HTTPException(
            401,
            "The request has no token. Send a token as Authorization: Bearer; the token of the first user is in the "
            "file token of the service's data directory.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return state.authenticator.authenticate_token(token)


Owner = Annotated[User, Depends(authenticate)]


def owned_task(task_service: TaskService, job_id: str, user: User) -> dict[str, Any]:
    """Return the columns of a task of a user.

    Raises:
        HTTPException: 404 if it doesn't exist. Other users' tasks are a 404 too: a 403 would disclose which ids exist.
    """
    # PostgreSQL rejects text with a NUL, even as a parameter of a query.
    task = None if "\0" in job_id else task_service.store.tasks.get(job_id, owner=user.user_id)
    if task is None:
        raise HTTPException(404, f"Task {job_id!r:.100} not found.")
    return task
