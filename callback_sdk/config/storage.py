"""Settings for presigning targets and writing results."""

from __future__ import annotations

from callback_sdk.config.environ_config import environ
from callback_sdk.config.reader import Config, variable
from callback_sdk.config.settings import (
    AISTORE_CLUSTERS,
    ALLOW_HOSTS,
    ALLOW_NETWORKS,
    BUCKET,
    REGION,
    STORAGE_ENDPOINTS,
    WEBHOOK_SECRETS,
)
from callback_sdk.redaction import Secret


@environ.config(prefix="CALLBACK_SDK", from_environ=None, frozen=True)
class WriterConfig(Config):
    """Settings that the command line passes to `ResultsWriter`."""

    storage_endpoints: tuple[str, ...] = variable(STORAGE_ENDPOINTS)
    aistore_clusters: tuple[tuple[str, Secret[str]], ...] = variable(AISTORE_CLUSTERS)
    webhook_secrets: tuple[Secret[str], ...] = variable(WEBHOOK_SECRETS)


@environ.config(prefix="CALLBACK_SDK", from_environ=None, frozen=True)
class TargetConfig(Config):
    """Settings that decide which targets a service accepts."""

    storage_endpoints: tuple[str, ...] = variable(STORAGE_ENDPOINTS)
    aistore_clusters: tuple[tuple[str, Secret[str]], ...] = variable(AISTORE_CLUSTERS)
    allow_networks: tuple[str, ...] = variable(ALLOW_NETWORKS)
    allow_hosts: tuple[str, ...] = variable(ALLOW_HOSTS)


@environ.config(prefix="CALLBACK_SDK", from_environ=None, frozen=True)
class StorageConfig(Config):
    """The default bucket for presigning targets in scripts and notebooks."""

    bucket: str | None = variable(BUCKET)
    region: str | None = variable(REGION)
