"""The client: submits jobs to a service that speaks the AI Core v2 REST API, and asks after them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import attrs

from callback_sdk.client.catalogue import Catalogue
from callback_sdk.client.jobs import Jobs
from callback_sdk.client.tasks import Tasks
from callback_sdk.forking import Lock
from callback_sdk.redaction import Secret, hide, sealed

if TYPE_CHECKING:
    from callback_sdk.config import ClientConfig

_instances: dict[tuple[int, ClientConfig], Client] = {}
_instances_lock = Lock()


class Client(Catalogue, Jobs, Tasks):
    """What a notebook or a script has of a service: it submits jobs, and asks after them.

    What is not given comes from the environment (see `ClientConfig`). One client may be shared by threads,
    and by the processes that they fork, which get connections of their own.

    Calls are repeated after a failed connection and a status in `retry.RETRYABLE_STATUSES`, with pauses that grow
    and heed `Retry-After`. `run_algorithm` and `train_algorithm` are repeated only where no second task can come of
    it: always with an `idempotency_key` of the caller's, else when no connection came about, or the service answered
    429, or 503 with `Retry-After`. Redirects are errors, so that the token goes to no other host.

    Without a token, a user's name and password are exchanged for one when it is first needed, and again whenever
    the service wants another.

    Args:
        url: Where the service's API is, such as `http://127.0.0.1:8000/api/v2`.
        token: The bearer token.
        username: Who logs in where there is no token.
        password: Their password.
        callback_url: Where results go when a job names no target; the same forms as in `run_algorithm`.
        timeout: The longest silence of the service within one answer.
        connect_timeout: The longest wait for a connection.
        retries: Tries after the first one.
        storage_endpoints: Object stores beside the well-known ones, so that a URL there without a signature
            is refused.
        config: Takes the environment's place.

    Raises:
        ConfigurationError: There is no URL, or neither a token nor a name with a password, or a setting can't be
            used.
    """

    @sealed
    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | Secret[str] | None = None,
        username: str | None = None,
        password: str | Secret[str] | None = None,
        callback_url: Any = None,
        timeout: timedelta | None = None,
        connect_timeout: timedelta | None = None,
        retries: int | None = None,
        storage_endpoints: Iterable[str] | None = None,
        config: ClientConfig | None = None,
    ) -> None:
        super().__init__(
            url,
            token=_hidden(token),
            username=username,
            password=_hidden(password),
            callback_url=_hidden(callback_url),
            timeout=timeout,
            connect_timeout=connect_timeout,
            retries=retries,
            storage_endpoints=storage_endpoints,
            config=config or _environment(),
        )


@sealed
def get_instance(
    token: str | Secret[str] | None = None,
    url: str | None = None,
    callback_url: Any = None,
    *,
    username: str | None = None,
    password: str | Secret[str] | None = None,
) -> Client:
    """Return the client that this process shares among all who ask with the same arguments and environment.

    `fail_on_error` counts for all of them. A client that was closed is replaced at the next call.

    Args:
        token: The bearer token; the environment's when None.
        url: Where the service's API is; the environment's when None.
        callback_url: Where results go when `run_algorithm` names no target; the environment's when None.
        username: Who logs in where no token is given; the environment's when None.
        password: Their password; the environment's when None.

    Raises:
        ConfigurationError: There is no URL, nothing to log in with, or a setting can't be used.
    """
    given = {
        "token": _hidden(token),
        "url": url,
        "callback_url": _hidden(callback_url),
        "username": username,
        "password": _hidden(password),
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if (username is not None or password is not None) and token is None:
        # Who says a name doesn't mean the environment's token.
        changes["token"] = None
    del token, callback_url, password
    config: ClientConfig = attrs.evolve(cast("Any", _environment()), **changes)
    # Sockets don't survive a fork as two, so a child process gets a client of its own.
    key = (os.getpid(), config)
    with _instances_lock:
        client = _instances.get(key)
        if client is None or client.closed:
            client = _instances[key] = Client(config=config)
        return client


def _environment() -> ClientConfig:
    # Here, because environ-config loads boto3 wherever that is installed.
    from callback_sdk.config import ClientConfig

    return ClientConfig.from_environ()


def _hidden(value: Any) -> Secret[Any] | None:
    return None if value is None else hide(value)
