"""Settings of the service and its workers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from callback_sdk.config import settings
from callback_sdk.config.environ_config import environ
from callback_sdk.config.reader import Config, variable
from callback_sdk.redaction import Secret, SecretURL


@environ.config(prefix="CALLBACK_SDK", from_environ=None, frozen=True)
class ServiceConfig(Config):
    """Settings of the service and its workers: defaults of the options that their command line omits."""

    host: str = variable(settings.HOST)
    port: int = variable(settings.PORT)
    data_dir: Path = variable(settings.DATA_DIR)
    database: Secret[str] | None = variable(settings.DATABASE)
    blob_storage: str | None = variable(settings.BLOB_STORAGE)
    results_bucket: str | None = variable(settings.RESULTS_BUCKET)
    encryption_keys: tuple[Secret[str], ...] = variable(settings.ENCRYPTION_KEYS)
    engine: str = variable(settings.ENGINE)
    broker: Secret[str] | None = variable(settings.BROKER)
    processes: int | None = variable(settings.PROCESSES)
    devices: tuple[str, ...] = variable(settings.DEVICES)
    memory_limit: float | None = variable(settings.MEMORY_LIMIT)
    max_runs: int | None = variable(settings.MAX_RUNS)
    max_output_files: int = variable(settings.MAX_OUTPUT_FILES)
    max_output_file_bytes: float = variable(settings.MAX_OUTPUT_FILE_BYTES)
    max_output_bytes: float = variable(settings.MAX_OUTPUT_BYTES)
    shutdown_timeout: timedelta = variable(settings.SHUTDOWN_TIMEOUT)
    stop_timeout: timedelta = variable(settings.STOP_TIMEOUT)
    retention: timedelta | None = variable(settings.RETENTION)
    audit_retention: timedelta = variable(settings.AUDIT_RETENTION)
    max_request_bytes: int = variable(settings.MAX_REQUEST_BYTES)
    max_callbacks: int = variable(settings.MAX_CALLBACKS)
    max_tasks: int = variable(settings.MAX_TASKS)
    max_bytes: float = variable(settings.MAX_BYTES)
    max_connections: int = variable(settings.MAX_CONNECTIONS)
    max_connections_per_address: int = variable(settings.MAX_CONNECTIONS_PER_ADDRESS)
    trusted_proxies: tuple[str, ...] = variable(settings.TRUSTED_PROXIES)
    proxy_headers: str = variable(settings.PROXY_HEADERS)
    root_path: str = variable(settings.ROOT_PATH)
    max_webhook_bytes: int = variable(settings.MAX_WEBHOOK_BYTES)
    public_url: str | None = variable(settings.PUBLIC_URL)
    retry_delays: tuple[timedelta, ...] = variable(settings.RETRY_DELAYS)
    event_interval: timedelta = variable(settings.EVENT_INTERVAL)
    circuit_failures: int = variable(settings.CIRCUIT_FAILURES)
    max_hold: timedelta = variable(settings.MAX_HOLD)
    host_concurrency: int | None = variable(settings.HOST_CONCURRENCY)
    host_rate: float | None = variable(settings.HOST_RATE)
    metrics_port: int | None = variable(settings.METRICS_PORT)
    startup_timeout: timedelta = variable(settings.STARTUP_TIMEOUT)
    stall_timeout: timedelta = variable(settings.STALL_TIMEOUT)
    lease: timedelta = variable(settings.LEASE)
    alert_url: SecretURL | None = variable(settings.ALERT_URL)
    alert_secrets: tuple[Secret[str], ...] = variable(settings.ALERT_SECRETS)
    alert_queue_age: timedelta = variable(settings.ALERT_QUEUE_AGE)
    log_format: str = variable(settings.LOG_FORMAT)
    storage_endpoints: tuple[str, ...] = variable(settings.STORAGE_ENDPOINTS)
    aistore_clusters: tuple[tuple[str, Secret[str]], ...] = variable(settings.AISTORE_CLUSTERS)
    allow_networks: tuple[str, ...] = variable(settings.ALLOW_NETWORKS)
    allow_hosts: tuple[str, ...] = variable(settings.ALLOW_HOSTS)
    callback_proxy: SecretURL | None = variable(settings.CALLBACK_PROXY)
    callback_no_proxy: tuple[str, ...] = variable(settings.CALLBACK_NO_PROXY)
    callback_proxy_dns: str = variable(settings.CALLBACK_PROXY_DNS)
    pass_env: tuple[str, ...] = variable(settings.PASS_ENV)
    webhook_secrets: tuple[Secret[str], ...] = variable(settings.WEBHOOK_SECRETS)
