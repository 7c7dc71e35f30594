"""Settings for presigning targets and writing results."""

from __future__ import annotations

from callback_sdk.config import settings
from callback_sdk.config.environ_config import environ
from callback_sdk.config.reader import Config, variable
from callback_sdk.redaction import Secret


@environ.config(prefix="CALLBACK_SDK", from_environ=None, frozen=True)
class WriterConfig(Config):
    """Settings that the command line passes to `ResultsWriter`."""

    storage_endpoints: tuple[str, ...] = variable(settings.STORAGE_ENDPOINTS)
    aistore_clusters: tuple[tuple[str, Secret[str]], ...] = variable(settings.AISTORE_CLUSTERS)
    webhook_secrets: tuple[Secret[str], ...] = variable(settings.WEBHOOK_SECRETS)


@environ.config(prefix="CALLBACK_SDK", from_environ=None, frozen=True)
class TargetConfig(Config):
    """Settings that decide which targets a service accepts."""

    storage_endpoints: tuple[str, ...] = variable(settings.STORAGE_ENDPOINTS)
    aistore_clusters: tuple[tuple[str, Secret[str]], ...] = variable(settings.AISTORE_CLUSTERS)
    allow_networks: tuple[str, ...] = variable(settings.ALLOW_NETWORKS)
    allow_hosts: tuple[str, ...] = variable(settings.ALLOW_HOSTS)


@environ.config(prefix="CALLBACK_SDK", from_environ=None, frozen=True)
class StorageConfig(Config):
    """The default bucket for presigning targets in scripts and notebooks."""

    bucket: str | None = variable(settings.BUCKET)
    region: str | None = variable(settings.REGION)


@environ.config(prefix="CALLBACK_SDK", from_environ=None, frozen=True)
class ProgramConfig(Config):
    """Targets of a program. `callback-sdk exec` reads them itself: this module takes too long to import."""

    callbacks: Secret[str] | None = variable(settings.CALLBACKS)
    callbacks_file: str | None = variable(settings.CALLBACKS_FILE)
