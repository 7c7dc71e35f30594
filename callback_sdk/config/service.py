"""Settings of the service and its workers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from callback_sdk.config.environ_config import environ
from callback_sdk.config.reader import Config, variable
from callback_sdk.config.settings import (
    AISTORE_CLUSTERS,
    ALLOW_HOSTS,
    ALLOW_NETWORKS,
    BLOB_STORAGE,
    BROKER,
    DATA_DIR,
    DATABASE,
    DEVICES,
    ENCRYPTION_KEYS,
    ENGINE,
    HOST,
    LEASE,
    LOG_FORMAT,
    MAX_BYTES,
    MAX_CALLBACKS,
    MAX_CONNECTIONS,
    MAX_CONNECTIONS_PER_ADDRESS,
    MAX_OUTPUT_BYTES,
    MAX_OUTPUT_FILE_BYTES,
    MAX_OUTPUT_FILES,
    MAX_REQUEST_BYTES,
    MAX_RUNS,
    MAX_TASKS,
    MAX_WEBHOOK_BYTES,
    MEMORY_LIMIT,
    METRICS_PORT,
    PASS_ENV,
    PORT,
    PROCESSES,
    PUBLIC_URL,
    RESULTS_BUCKET,
    RETENTION,
    RETRY_DELAYS,
    SHUTDOWN_TIMEOUT,
    STALL_TIMEOUT,
    STARTUP_TIMEOUT,
    STOP_TIMEOUT,
    STORAGE_ENDPOINTS,
    TRUSTED_PROXIES,
    WEBHOOK_SECRETS,
)
from callback_sdk.redaction import Secret


@environ.config(prefix="CALLBACK_SDK", from_environ=None, frozen=True)
class ServiceConfig(Config):
    """Settings of the service and its workers: defaults of the options that their command line omits."""

    host: str = variable(HOST)
    port: int = variable(PORT)
    data_dir: Path = variable(DATA_DIR)
    database: Secret[str] | None = variable(DATABASE)
    blob_storage: str | None = variable(BLOB_STORAGE)
    results_bucket: str | None = variable(RESULTS_BUCKET)
    encryption_keys: tuple[Secret[str], ...] = variable(ENCRYPTION_KEYS)
    engine: str = variable(ENGINE)
    broker: Secret[str] | None = variable(BROKER)
    processes: int | None = variable(PROCESSES)
    devices: tuple[str, ...] = variable(DEVICES)
    memory_limit: float | None = variable(MEMORY_LIMIT)
    max_runs: int | None = variable(MAX_RUNS)
    max_output_files: int = variable(MAX_OUTPUT_FILES)
    max_output_file_bytes: float = variable(MAX_OUTPUT_FILE_BYTES)
    max_output_bytes: float = variable(MAX_OUTPUT_BYTES)
    shutdown_timeout: timedelta = variable(SHUTDOWN_TIMEOUT)
    stop_timeout: timedelta = variable(STOP_TIMEOUT)
    retention: timedelta | None = variable(RETENTION)
    max_request_bytes: int = variable(MAX_REQUEST_BYTES)
    max_callbacks: int = variable(MAX_CALLBACKS)
    max_tasks: int = variable(MAX_TASKS)
    max_bytes: float = variable(MAX_BYTES)
    max_connections: int = variable(MAX_CONNECTIONS)
    max_connections_per_address: int = variable(MAX_CONNECTIONS_PER_ADDRESS)
    trusted_proxies: tuple[str, ...] = variable(TRUSTED_PROXIES)
    max_webhook_bytes: int = variable(MAX_WEBHOOK_BYTES)
    public_url: str | None = variable(PUBLIC_URL)
    retry_delays: tuple[timedelta, ...] = variable(RETRY_DELAYS)
    metrics_port: int | None = variable(METRICS_PORT)
    startup_timeout: timedelta = variable(STARTUP_TIMEOUT)
    stall_timeout: timedelta = variable(STALL_TIMEOUT)
    lease: timedelta = variable(LEASE)
    log_format: str = variable(LOG_FORMAT)
    storage_endpoints: tuple[str, ...] = variable(STORAGE_ENDPOINTS)
    aistore_clusters: tuple[tuple[str, Secret[str]], ...] = variable(AISTORE_CLUSTERS)
    allow_networks: tuple[str, ...] = variable(ALLOW_NETWORKS)
    allow_hosts: tuple[str, ...] = variable(ALLOW_HOSTS)
    pass_env: tuple[str, ...] = variable(PASS_ENV)
    webhook_secrets: tuple[Secret[str], ...] = variable(WEBHOOK_SECRETS)
