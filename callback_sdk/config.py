"""Settings from the environment: the only module that reads it.

Each variable begins with `CALLBACK_SDK_`. Where the AI platform's scripts and notebooks have a name of their
own for the same thing, that one counts too, unless ours is set. A variable that is set to nothing counts as
not set.

environ-config loads boto3 wherever that is installed, so import this module where a setting is needed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import environ
from attrs import define, field

from callback_sdk.errors import ConfigurationError, InvalidTargetError
from callback_sdk.parsing import DURATION_FORMAT, SIZE_FORMAT, parse_bool, parse_duration, parse_size
from callback_sdk.redaction import Secret, SecretURL, hides_tracebacks
from callback_sdk.transport.allowlist import AllowedNetwork
from callback_sdk.transport.retry import SERVICE_DELAYS

T = TypeVar("T")

_SEED_NAMES = {
    "CALLBACK_SDK_TOKEN": "COMPREDICT_AI_CORE_KEY",
    "CALLBACK_SDK_FAIL_ON_ERROR": "COMPREDICT_AI_CORE_FAIL_ON_ERROR",
    "CALLBACK_SDK_BUCKET": "BUCKET",
    "CALLBACK_SDK_REGION": "REGION",
}


@define(frozen=True)
class _Found:
    """A variable's text together with its name, so that an error can say which one it was."""

    name: str
    text: str = field(repr=False)


def _whole_number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        # int() alone also takes "1_000" and other scripts' digits.
        if not re.fullmatch(r"\s*[0-9]{1,9}\s*", text, re.ASCII) or not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return parse


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.strip() not in words:
            raise ValueError(text)
        return text.strip()

    return parse


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[\s,]+", text) if word)


def _names(text: str) -> tuple[str, ...]:
    names = _words(text)
    # NAME=VALUE would pass nothing; the error doesn't quote it, as the value may be a secret.
    if any("=" in name for name in names):
        raise ValueError(text)
    return names


def _networks(text: str) -> tuple[str, ...]:
    return tuple(str(AllowedNetwork.parse(word)) for word in _words(text))


def networks_or_none(text: str) -> tuple[str, ...]:
    """Read networks; the word "none" stands for no network, as an empty variable counts as not set.

    Raises:
        ValueError: One is no network in CIDR notation.
    """
    return () if text.strip().lower() == "none" else _networks(text)


def _durations(text: str) -> tuple[timedelta, ...]:
    return tuple(parse_duration(word) for word in _words(text))


def _secret(text: str) -> Secret[str]:
    return Secret(text.strip())


def _secrets(text: str) -> tuple[Secret[str], ...]:
    return tuple(Secret(word) for word in _words(text))


def _secret_url(text: str) -> SecretURL:
    return SecretURL(text.strip())


def _setting(name: str, parse: Callable[[str], Any], takes: str, *, default: Any = None, shown: bool = True) -> Any:
    """Declare one variable.

    Args:
        name: The variable, without the prefix.
        parse: From its text to its value; a ValueError means that the text is no such value.
        takes: What the variable takes, for the error and the help.
        default: The value when it isn't set.
        shown: Whether an error may show the text; not that of a credential.
    """

    def convert(value: Any) -> Any:
        if not isinstance(value, _Found):
            return value
        try:
            return parse(value.text)
        except (ValueError, InvalidTargetError):
            pass
        said = f"is {value.text!r}" if shown else "can't be read"
        raise ConfigurationError(f"The environment variable {value.name} {said}.", hint=f"It takes {takes}.")

    return environ.var(default=default, name=f"CALLBACK_SDK_{name}", converter=convert, help=f"{takes}.")


def _found(variables: Mapping[str, str]) -> dict[str, _Found]:
    found = {}
    for own, text in variables.items():
        if own.startswith("CALLBACK_SDK_") and text.strip():
            found[own] = _Found(own, text)
    for own, seed in _SEED_NAMES.items():
        if own not in found and variables.get(seed, "").strip():
            found[own] = _Found(seed, variables[seed])
    return found


def _read(cls: type[T], variables: Mapping[str, str] | None) -> T:
    found = _found(os.environ if variables is None else variables)
    values: T = environ.to_config(cls, found)
    return values


_BOOL = "1, true, yes, on, or 0, false, no, off"
_DURATION = f"a duration: {DURATION_FORMAT}"
_ENDPOINTS = "the URLs of object stores, separated by commas or spaces"
_NETWORKS = (
    "networks in CIDR notation, with a port that isn't the scheme's own, such as 10.20.0.0/16:9000 or [fd00::/8]:9000, "
    "separated by commas or spaces"
)
_HOSTS = "names of hosts, with a port that isn't the scheme's own, such as minio:9000, separated by commas or spaces"
_FOLDER = "the path of a folder"
_DATABASE = "sqlite:///PATH, or postgresql://USER:PASSWORD@HOST/NAME"
_BROKER = "amqp://USER:PASSWORD@HOST/VHOST, or redis://:PASSWORD@HOST:PORT/0"


@environ.config(prefix="CALLBACK_SDK", from_environ=None, frozen=True)
class ClientConfig:
    """What `Client` takes from the environment where its caller says nothing.

    Attributes:
        url: `CALLBACK_SDK_URL`: where the service's API is.
        token: `CALLBACK_SDK_TOKEN`, or `COMPREDICT_AI_CORE_KEY`: the bearer token.
        username: `CALLBACK_SDK_USERNAME`: who logs in where there is no token.
        password: `CALLBACK_SDK_PASSWORD`: that user's password.
        callback_url: `CALLBACK_SDK_CALLBACK_URL`: where results go when a job names no target.
        fail_on_error: `CALLBACK_SDK_FAIL_ON_ERROR`, or `COMPREDICT_AI_CORE_FAIL_ON_ERROR`: whether to raise.
        timeout: `CALLBACK_SDK_TIMEOUT`: the longest silence of the service within one answer.
        connect_timeout: `CALLBACK_SDK_CONNECT_TIMEOUT`: the longest wait for a connection.
        retries: `CALLBACK_SDK_RETRIES`: tries after the first one.
        max_response: `CALLBACK_SDK_MAX_RESPONSE`: bytes that a response of the service may have, decompressed.
        storage_endpoints: `CALLBACK_SDK_STORAGE_ENDPOINTS`: object stores beside the well-known ones.
    """

    url: str | None = _setting("URL", str.strip, "an http or https URL")
    token: Secret[str] | None = _setting("TOKEN", _secret, "a bearer token", shown=False)
    callback_url: SecretURL | None = _setting("CALLBACK_URL", _secret_url, "a URL", shown=False)
    username: str | None = _setting("USERNAME", str.strip, "a user's name")
    password: Secret[str] | None = _setting("PASSWORD", Secret, "a user's password", shown=False)
    fail_on_error: bool = _setting("FAIL_ON_ERROR", parse_bool, _BOOL, default=True)
    timeout: timedelta = _setting("TIMEOUT", parse_duration, _DURATION, default=timedelta(seconds=30))
    connect_timeout: timedelta = _setting("CONNECT_TIMEOUT", parse_duration, _DURATION, default=timedelta(seconds=5))
    retries: int = _setting("RETRIES", _whole_number(0, 100), "a whole number from 0 to 100", default=3)
    max_response: float = _setting("MAX_RESPONSE", parse_size, SIZE_FORMAT, default=1024**3)
    storage_endpoints: tuple[str, ...] = _setting("STORAGE_ENDPOINTS", _words, _ENDPOINTS, default=())

    @classmethod
    @hides_tracebacks
    def from_environ(cls, variables: Mapping[str, str] | None = None) -> ClientConfig:
        """Read the environment, or a mapping in its place.

        Raises:
            ConfigurationError: A variable holds what it doesn't take; the text names it.
        """
        return _read(cls, variables)


@environ.config(prefix="CALLBACK_SDK", from_environ=None, frozen=True)
class ServiceConfig:
    """What the service and its workers take from the environment where their command line says nothing.

    Attributes:
        host: `CALLBACK_SDK_HOST`: the address to listen at.
        port: `CALLBACK_SDK_PORT`: the port; 0 takes a free one.
        data: `CALLBACK_SDK_DATA`: the folder of this machine's own files, and of everything that has no other place.
        database: `CALLBACK_SDK_DATABASE`: the store; SQLite in the data folder when None.
        blobs: `CALLBACK_SDK_BLOBS`: where large features and results are; in the data folder when None.
        encryption_keys: `CALLBACK_SDK_ENCRYPTION_KEYS`: the newest first; those in the data folder when empty.
        engine: `CALLBACK_SDK_ENGINE`: what brings tasks to workers.
        broker: `CALLBACK_SDK_BROKER`: the engine's message broker.
        processes: `CALLBACK_SDK_PROCESSES`: algorithms that run at a time; one for each CPU when None.
        memory_limit: `CALLBACK_SDK_MEMORY_LIMIT`: bytes that a run may take; a share of the machine's when None.
        grace: `CALLBACK_SDK_GRACE`: how long running tasks may go on after SIGTERM.
        keep: `CALLBACK_SDK_KEEP`: how long tasks are kept after their end; for ever when None.
        max_body: `CALLBACK_SDK_MAX_BODY`: bytes of a request.
        max_callbacks: `CALLBACK_SDK_MAX_CALLBACKS`: targets of a task.
        max_tasks: `CALLBACK_SDK_MAX_TASKS`: tasks of one user that have not ended.
        max_bytes: `CALLBACK_SDK_MAX_BYTES`: bytes that the tasks of one user may take.
        max_connections: `CALLBACK_SDK_MAX_CONNECTIONS`: connections at a time.
        max_connections_per_address: `CALLBACK_SDK_MAX_CONNECTIONS_PER_ADDRESS`: the same from one address.
        trusted_proxies: `CALLBACK_SDK_TRUSTED_PROXIES`: networks of the reverse proxies in front of the service.
        retry_delays: `CALLBACK_SDK_RETRY_DELAYS`: pauses between the tries of a delivery.
        metrics_port: `CALLBACK_SDK_METRICS_PORT`: where a worker answers Prometheus and
            health checks; nowhere when None.
        startup_timeout: `CALLBACK_SDK_STARTUP_TIMEOUT`: how long a worker may take until it is ready.
        stall_timeout: `CALLBACK_SDK_STALL_TIMEOUT`: how long a free worker may get nothing from the broker although
            tasks were dispatched to it, before it connects anew.
        log_format: `CALLBACK_SDK_LOG_FORMAT`: how log lines look.
        storage_endpoints: `CALLBACK_SDK_STORAGE_ENDPOINTS`: object stores beside the well-known ones.
        allow_networks: `CALLBACK_SDK_ALLOW_NETWORKS`: networks that callbacks may reach although they aren't public.
        allow_hosts: `CALLBACK_SDK_ALLOW_HOSTS`: hosts that callbacks may reach whatever their addresses are.
        pass_env: `CALLBACK_SDK_PASS_ENV`: variables of the environment that algorithms get besides the usual ones.
        webhook_secrets: `CALLBACK_SDK_WEBHOOK_SECRETS`: what webhooks are signed with, the newest first.
    """

    host: str = _setting("HOST", str.strip, "a host name or an IP address", default="127.0.0.1")
    port: int = _setting("PORT", _whole_number(0, 65535), "a whole number from 0 to 65535", default=8000)
    data: Path = _setting("DATA", Path, _FOLDER, default=Path("callback-sdk-data"))
    database: Secret[str] | None = _setting("DATABASE", _secret, _DATABASE, shown=False)
    blobs: str | None = _setting("BLOBS", str.strip, "the path of a folder, or s3://BUCKET/PREFIX")
    encryption_keys: tuple[Secret[str], ...] = _setting(
        "ENCRYPTION_KEYS", _secrets, "keys that `callback-sdk db new-key` makes", default=(), shown=False
    )
    engine: str = _setting("ENGINE", str.strip, "embedded or celery", default="embedded")
    broker: Secret[str] | None = _setting("BROKER", _secret, _BROKER, shown=False)
    processes: int | None = _setting("PROCESSES", _whole_number(1, 1024), "a whole number from 1 to 1024")
    memory_limit: float | None = _setting("MEMORY_LIMIT", parse_size, SIZE_FORMAT)
    grace: timedelta = _setting("GRACE", parse_duration, _DURATION, default=timedelta(seconds=20))
    keep: timedelta | None = _setting("KEEP", parse_duration, _DURATION)
    max_body: int = _setting("MAX_BODY", _whole_number(1, 999_999_999), "a number of bytes", default=256 * 1024 * 1024)
    max_callbacks: int = _setting("MAX_CALLBACKS", _whole_number(0, 1000), "a whole number up to 1000", default=10)
    max_tasks: int = _setting("MAX_TASKS", _whole_number(1, 999_999_999), "a whole number above 0", default=100_000)
    max_bytes: float = _setting("MAX_BYTES", parse_size, SIZE_FORMAT, default=100 * 1024**3)
    max_connections: int = _setting("MAX_CONNECTIONS", _whole_number(8, 999_999), "a whole number from 8", default=1000)
    max_connections_per_address: int = _setting(
        "MAX_CONNECTIONS_PER_ADDRESS", _whole_number(1, 999_999), "a whole number above 0", default=200
    )
    trusted_proxies: tuple[str, ...] = _setting(
        "TRUSTED_PROXIES", networks_or_none, f"{_NETWORKS}, or none", default=("127.0.0.1/32", "::1/128")
    )
    retry_delays: tuple[timedelta, ...] = _setting(
        "RETRY_DELAYS", _durations, "durations such as 5s 30s 2m, separated by spaces", default=SERVICE_DELAYS
    )
    metrics_port: int | None = _setting("METRICS_PORT", _whole_number(1, 65535), "a whole number from 1 to 65535")
    startup_timeout: timedelta = _setting("STARTUP_TIMEOUT", parse_duration, _DURATION, default=timedelta(minutes=5))
    stall_timeout: timedelta = _setting("STALL_TIMEOUT", parse_duration, _DURATION, default=timedelta(seconds=30))
    log_format: str = _setting("LOG_FORMAT", _one_of("text", "json"), "text or json", default="text")
    storage_endpoints: tuple[str, ...] = _setting("STORAGE_ENDPOINTS", _words, _ENDPOINTS, default=())
    allow_networks: tuple[str, ...] = _setting("ALLOW_NETWORKS", _networks, _NETWORKS, default=())
    allow_hosts: tuple[str, ...] = _setting("ALLOW_HOSTS", _words, _HOSTS, default=())
    pass_env: tuple[str, ...] = _setting(
        "PASS_ENV", _names, "names of environment variables, separated by commas or spaces", default=(), shown=False
    )
    webhook_secrets: tuple[Secret[str], ...] = _setting(
        "WEBHOOK_SECRETS", _secrets, "signing secrets, separated by commas or spaces", default=(), shown=False
    )

    @classmethod
    @hides_tracebacks
    def from_environ(cls, variables: Mapping[str, str] | None = None) -> ServiceConfig:
        """Read the environment, or a mapping in its place.

        Raises:
            ConfigurationError: A variable holds what it doesn't take; the text names it.
        """
        return _read(cls, variables)


@environ.config(prefix="CALLBACK_SDK", from_environ=None, frozen=True)
class WriterConfig:
    """What a worker can give to `ResultsWriter` from its environment.

    Attributes:
        storage_endpoints: `CALLBACK_SDK_STORAGE_ENDPOINTS`: object stores beside the well-known ones.
        webhook_secrets: `CALLBACK_SDK_WEBHOOK_SECRETS`: what webhooks are signed with, the newest first.
    """

    storage_endpoints: tuple[str, ...] = _setting("STORAGE_ENDPOINTS", _words, _ENDPOINTS, default=())
    webhook_secrets: tuple[Secret[str], ...] = _setting(
        "WEBHOOK_SECRETS", _secrets, "signing secrets, separated by commas or spaces", default=(), shown=False
    )

    @classmethod
    @hides_tracebacks
    def from_environ(cls, variables: Mapping[str, str] | None = None) -> WriterConfig:
        """Read the environment, or a mapping in its place.

        Raises:
            ConfigurationError: A variable holds what it doesn't take; the text names it.
        """
        return _read(cls, variables)


@environ.config(prefix="CALLBACK_SDK", from_environ=None, frozen=True)
class StorageConfig:
    """Which bucket scripts and notebooks sign their targets in.

    Attributes:
        bucket: `CALLBACK_SDK_BUCKET`, or `BUCKET`.
        region: `CALLBACK_SDK_REGION`, or `REGION`.
    """

    bucket: str | None = _setting("BUCKET", str.strip, "the name of a bucket")
    region: str | None = _setting("REGION", str.strip, "the name of a region, such as eu-central-1")

    @classmethod
    @hides_tracebacks
    def from_environ(cls, variables: Mapping[str, str] | None = None) -> StorageConfig:
        """Read the environment, or a mapping in its place.

        Raises:
            ConfigurationError: A variable holds what it doesn't take; the text names it.
        """
        return _read(cls, variables)
