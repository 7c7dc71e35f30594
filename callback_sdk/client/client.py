"""The client: submits jobs to a service that speaks the AI Core v2 REST API, and asks after them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from callback_sdk.client.catalogue import Catalogue
from callback_sdk.client.jobs import Jobs
from callback_sdk.client.tasks import Tasks
from callback_sdk.redaction import Secret, hide, hides_tracebacks

if TYPE_CHECKING:
    from callback_sdk.config.client import ClientConfig


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

    @hides_tracebacks
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
            token=hidden(token),
            username=username,
            password=hidden(password),
            callback_url=hidden(callback_url),
            timeout=timeout,
            connect_timeout=connect_timeout,
            retries=retries,
            storage_endpoints=storage_endpoints,
            config=config or environment_config(),
        )


def environment_config() -> ClientConfig:
    """Return the environment's settings."""
    # Here, because environ-config loads boto3 wherever that is installed.
    from callback_sdk.config.client import ClientConfig

    return ClientConfig.from_environ()


def hidden(value: Any) -> Secret[Any] | None:
    """Return a credential in a value that hides it; None when there is none."""
    return None if value is None else hide(value)
