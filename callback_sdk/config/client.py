"""Settings of the client."""

from __future__ import annotations

from datetime import timedelta

from callback_sdk.config.environ_config import environ
from callback_sdk.config.reader import Config, variable
from callback_sdk.config.settings import (
    CALLBACK_URL,
    CONNECT_TIMEOUT,
    FAIL_ON_ERROR,
    MAX_RESPONSE_BYTES,
    PASSWORD,
    RETRIES,
    STORAGE_ENDPOINTS,
    TIMEOUT,
    TOKEN,
    URL,
    USERNAME,
)
from callback_sdk.redaction import Secret, SecretURL


@environ.config(prefix="CALLBACK_SDK", from_environ=None, frozen=True)
class ClientConfig(Config):
    """Settings of `Client`: defaults of the arguments that its caller omits."""

    url: str | None = variable(URL)
    token: Secret[str] | None = variable(TOKEN)
    callback_url: SecretURL | None = variable(CALLBACK_URL)
    username: str | None = variable(USERNAME)
    password: Secret[str] | None = variable(PASSWORD)
    fail_on_error: bool = variable(FAIL_ON_ERROR)
    timeout: timedelta = variable(TIMEOUT)
    connect_timeout: timedelta = variable(CONNECT_TIMEOUT)
    retries: int = variable(RETRIES)
    max_response_bytes: float = variable(MAX_RESPONSE_BYTES)
    storage_endpoints: tuple[str, ...] = variable(STORAGE_ENDPOINTS)
