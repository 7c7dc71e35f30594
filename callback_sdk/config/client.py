"""Settings of the client."""

from __future__ import annotations

from datetime import timedelta

from callback_sdk.config import settings
from callback_sdk.config.environ_config import environ
from callback_sdk.config.reader import Config, variable
from callback_sdk.redaction import Secret, SecretURL


@environ.config(prefix="CALLBACK_SDK", from_environ=None, frozen=True)
class ClientConfig(Config):
    """Settings of `Client`: defaults of the arguments that its caller omits."""

    url: str | None = variable(settings.URL)
    token: Secret[str] | None = variable(settings.TOKEN)
    callback_url: SecretURL | None = variable(settings.CALLBACK_URL)
    username: str | None = variable(settings.USERNAME)
    password: Secret[str] | None = variable(settings.PASSWORD)
    fail_on_error: bool = variable(settings.FAIL_ON_ERROR)
    timeout: timedelta = variable(settings.TIMEOUT)
    connect_timeout: timedelta = variable(settings.CONNECT_TIMEOUT)
    retries: int = variable(settings.RETRIES)
    max_response_bytes: float = variable(settings.MAX_RESPONSE_BYTES)
    storage_endpoints: tuple[str, ...] = variable(settings.STORAGE_ENDPOINTS)
