"""The settings of a client: its arguments, and the environment for arguments that are None."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callback_sdk.client.connection import ServiceConnection, service_url
from callback_sdk.client.login import check_string, credentials_of
from callback_sdk.errors import ConfigurationError
from callback_sdk.parsing import Duration
from callback_sdk.redaction import Secret, wrap_secret

if TYPE_CHECKING:
    from callback_sdk.config.client import ClientConfig


def configuration(given: ClientConfig | None) -> ClientConfig:
    """Return the given settings, or those in the environment.

    Raises:
        ConfigurationError: The argument is not a `ClientConfig`, or a variable has an invalid value.
    """
    # Imported here, because few programs give settings or need environ-config for another reason.
    from callback_sdk.config.client import ClientConfig

    if given is None:
        return ClientConfig.from_environ()
    if not isinstance(given, ClientConfig):
        raise ConfigurationError(f"config is of type {type(given).__name__}.", hint="Give a ClientConfig, or None.")
    return given


def wrap_optional(value: Any) -> Secret[Any] | None:
    """Wrap a credential in `Secret`; None for no credential."""
    return None if value is None else wrap_secret(value)


def open_connection(
    config: ClientConfig,
    url: str | None,
    *,
    token: Secret[str] | None,
    username: str | None,
    password: Secret[str] | None,
    timeout: Duration | None,
    connect_timeout: Duration | None,
    retries: int | None,
) -> ServiceConnection:
    """Return a connection with the arguments of a `Client`, and the configuration's values for those that are None.

    Raises:
        ConfigurationError: The URL or the credentials are missing, or a setting is invalid.
    """
    return ServiceConnection(
        service_url(_checked_url(wrap_secret(url or config.url))),
        credentials_of(token, username, password, config),
        timeout=config.timeout if timeout is None else timeout,
        connect_timeout=config.connect_timeout if connect_timeout is None else connect_timeout,
        retries=config.retries if retries is None else retries,
        max_response=config.max_response_bytes,
    )


def _checked_url(value: Secret[Any]) -> Secret[str]:
    if value.reveal() is None:
        raise ConfigurationError(
            "The client has no URL.",
            hint="Give url=, or set CALLBACK_SDK_URL. `callback-sdk serve` logs its URL at startup.",
        )
    check_string("url", value.reveal())
    return value
