"""The clients of a process, one for each set of arguments."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

import attrs

from callback_sdk.client.settings import configuration, wrap_optional
from callback_sdk.compat.client import PlatformClient
from callback_sdk.concurrency.forking import Lock
from callback_sdk.errors import AuthenticationError, ConfigurationError
from callback_sdk.redaction import Secret, hides_tracebacks
from callback_sdk.types import CallbackURLs

if TYPE_CHECKING:
    from callback_sdk.config.client import ClientConfig

_instances: dict[tuple[int, ClientConfig], PlatformClient] = {}
_instances_lock = Lock()


@hides_tracebacks
def get_instance(
    token: str | Secret[str] | None = None,
    url: str | None = None,
    callback_url: CallbackURLs | None = None,
    *,
    username: str | None = None,
    password: str | Secret[str] | None = None,
    token_refresh: str | Secret[str] | None = None,
    validate: bool = False,
) -> PlatformClient:
    """Return the process-wide client for these arguments and this environment.

    Without arguments, return the client that was created first. All callers share its `fail_on_error`. A
    closed client is replaced at the next call; a client with a token that `validate` has rejected is not shared.

    Args:
        token: The bearer token; from the environment if None.
        url: URL of the service's API; from the environment if None.
        callback_url: Targets of tasks that name none; from the environment if None.
        username: User name to log in without a token; from the environment if None.
        password: Password; from the environment if None.
        token_refresh: Replaces the token when the service rejects it.
        validate: Whether to verify the token at once.

    Raises:
        AuthenticationError: `validate` was given, and the token is invalid.
        ConfigurationError: The URL or the credentials are missing, or a setting is invalid.
    """
    for name, value in (("url", url), ("username", username)):
        if value is not None and not isinstance(value, str):
            raise ConfigurationError(f"{name} is of type {type(value).__name__}.", hint="Give a string.")
    given = {
        "token": wrap_optional(token),
        "url": url,
        "callback_url": wrap_optional(callback_url),
        "username": username,
        "password": wrap_optional(password),
    }
    refresh = wrap_optional(token_refresh)
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if (username is not None or password is not None) and token is None:
        # With a user name, the token of the environment is not used.
        changes["token"] = None
    del token, callback_url, password, token_refresh
    alone = not changes and refresh is None
    with _instances_lock:
        client = _first() if alone else None
    if client is None:
        client = _instance(attrs.evolve(cast("Any", configuration(None)), **changes), refresh, validate=validate)
    elif validate:
        _validate(client)
    return client


def _first() -> PlatformClient | None:
    own = (client for (process, _), client in _instances.items() if process == os.getpid())
    return next((client for client in own if not client.closed), None)


def _instance(config: ClientConfig, refresh: Secret[str] | None, *, validate: bool) -> PlatformClient:
    # The key includes the pid, because parent and child must not share sockets after a fork.
    key = (os.getpid(), config)
    with _instances_lock:
        client = _find_shared(key) if refresh is None else None
    if client is not None:
        if validate:
            _validate(client)
        return client
    new_client = PlatformClient(config=config, token_refresh=refresh)
    if validate:
        try:
            new_client._connection.verify()
        except BaseException:
            new_client.close()
            raise
    with _instances_lock:
        # Another thread may have created a client since the check.
        client = _find_shared(key) if refresh is None else None
        if client is None:
            client = _instances[key] = new_client
    if client is not new_client:
        new_client.close()
    return client


def _find_shared(key: tuple[int, ClientConfig]) -> PlatformClient | None:
    client = _instances.get(key)
    return None if client is None or client.closed else client


def _validate(client: PlatformClient) -> None:
    """Verify the token of a shared client. After a rejection the client is no longer shared."""
    try:
        client._connection.verify()
    except AuthenticationError:
        with _instances_lock:
            for key in [key for key, one in _instances.items() if one is client]:
                del _instances[key]
        raise
