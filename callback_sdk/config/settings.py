"""All settings: each is declared here once, with its environment variable and its command line option."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from callback_sdk.config.definition import Setting
from callback_sdk.config.values import (
    BOOL,
    BROKER_URLS,
    CLUSTERS,
    DATABASE_URLS,
    DIRECTORY,
    DURATION,
    DURATIONS,
    ENDPOINTS,
    HOSTS,
    LEASES,
    NETWORKS,
    clusters,
    device_ids,
    durations,
    lease,
    names,
    networks,
    networks_or_none,
    one_of,
    public_url,
    secret,
    secret_url,
    secrets,
    whole_number,
    words,
)
from callback_sdk.parsing import SIZE_FORMAT, parse_bool, parse_duration, parse_size
from callback_sdk.redaction import Secret
from callback_sdk.transport.retry import SERVICE_DELAYS

URL = Setting("URL", str.strip, "an http or https URL", "URL of the service's API.")
TOKEN = Setting("TOKEN", secret, "a bearer token", "Bearer token.", secret=True)
CALLBACK_URL = Setting(
    "CALLBACK_URL", secret_url, "a URL", "Target of the results of tasks that name none.", secret=True
)
USERNAME = Setting("USERNAME", str.strip, "a user's name", "User name for login if there is no token.")
PASSWORD = Setting("PASSWORD", Secret, "a user's password", "Password of that user.", secret=True)
FAIL_ON_ERROR = Setting(
    "FAIL_ON_ERROR",
    parse_bool,
    BOOL,
    "Whether calls of `callback_sdk.compat` raise errors; otherwise they return False.",
    default=True,
    shown_default="true",
)
TIMEOUT = Setting(
    "TIMEOUT", parse_duration, DURATION, "Read timeout.", default=timedelta(seconds=30), shown_default="30s"
)
CONNECT_TIMEOUT = Setting(
    "CONNECT_TIMEOUT", parse_duration, DURATION, "Connect timeout.", default=timedelta(seconds=5), shown_default="5s"
)
RETRIES = Setting(
    "RETRIES",
    whole_number(0, 100),
    "a whole number from 0 to 100",
    "Number of retries of a request that can't create a duplicate task.",
    default=3,
    shown_default="3",
)
MAX_RESPONSE_BYTES = Setting(
    "MAX_RESPONSE_BYTES",
    parse_size,
    SIZE_FORMAT,
    "Maximum size of a response of the service, decompressed.",
    default=1024**3,
    shown_default="1GiB",
)
HOST = Setting(
    "HOST",
    str.strip,
    "a host name or an IP address",
    "Address to listen on.",
    default="127.0.0.1",
    shown_default="127.0.0.1",
    option="--host",
    metavar="HOST",
)
PORT = Setting(
    "PORT",
    whole_number(0, 65535),
    "a whole number from 0 to 65535",
    "Port to listen on; 0 takes a free one.",
    default=8000,
    shown_default="8000",
    option="--port",
    metavar="PORT",
)
DATA_DIR = Setting(
    "DATA_DIR",
    Path,
    DIRECTORY,
    "Data directory: API token, keys, and the SQLite database and blobs unless they are elsewhere.",
    default=Path("callback-sdk-data"),
    shown_default="./callback-sdk-data",
    option="--data-dir",
    metavar="DIR",
)
DATABASE = Setting(
    "DATABASE",
    secret,
    DATABASE_URLS,
    "Database: sqlite:///PATH or postgresql://HOST/NAME. Put a URL with a password into the variable.",
    shown_default="SQLite in the data directory",
    secret=True,
    option="--database",
    metavar="URL",
)
BLOB_STORAGE = Setting(
    "BLOB_STORAGE",
    str.strip,
    "the path of a directory, or s3://BUCKET/PREFIX",
    "Storage of large features and results: a directory or s3://BUCKET/PREFIX.",
    shown_default="in the data directory",
    option="--blob-storage",
    metavar="DIR|S3_URL",
)
RESULTS_BUCKET = Setting(
    "RESULTS_BUCKET",
    str.strip,
    "s3://BUCKET/PREFIX",
    "Bucket for callbacks `results:`, with boto3's credentials; set it for workers too.",
    shown_default="none",
    option="--results-bucket",
    metavar="S3_URL",
)
ENCRYPTION_KEYS = Setting(
    "ENCRYPTION_KEYS",
    secrets,
    "keys that `callback-sdk db generate-key` makes",
    "Keys that encrypt credentials in the database, the newest first.",
    default=(),
    shown_default="the file keys in the data directory",
    secret=True,
)
ENGINE = Setting(
    "ENGINE",
    str.strip,
    "embedded or celery",
    "Where tasks run: in this process (embedded) or on Celery workers (celery).",
    default="embedded",
    shown_default="embedded",
    option="--engine",
    metavar="ENGINE",
)
BROKER = Setting(
    "BROKER",
    secret,
    BROKER_URLS,
    "Celery's message broker: amqp://HOST// or redis://HOST/0. Put a URL with a password into the variable.",
    secret=True,
    option="--broker",
    metavar="URL",
)
PROCESSES = Setting(
    "PROCESSES",
    whole_number(1, 1024),
    "a whole number from 1 to 1024",
    "Number of tasks that run at a time on this machine.",
    shown_default="one per CPU",
    option="--processes",
    metavar="N",
)
DEVICES = Setting(
    "DEVICES",
    device_ids,
    "ids of devices, separated by commas, such as 0,1 or GPU-8932f937",
    "Devices of this machine, such as GPUs. Each run of an algorithm that needs some has its own, and as many run at a "
    "time as there are devices, besides --processes.",
    default=(),
    shown_default="none",
    option="--devices",
    metavar="IDS",
)
MEMORY_LIMIT = Setting(
    "MEMORY_LIMIT",
    parse_size,
    SIZE_FORMAT,
    "Memory limit of a run if its algorithm declares none, such as 2GB; none for no limit.",
    shown_default="80 % of the machine's or container's memory, divided by the processes",
    option="--memory-limit",
    metavar="SIZE",
)
MAX_RUNS = Setting(
    "MAX_RUNS",
    whole_number(1, 999_999_999),
    "a whole number above 0",
    "Maximum number of tasks that one process runs before it is replaced; 1 gives each task a new process.",
    shown_default="no limit",
    option="--max-runs",
    metavar="N",
)
SHUTDOWN_TIMEOUT = Setting(
    "SHUTDOWN_TIMEOUT",
    parse_duration,
    DURATION,
    "How long running tasks may continue after SIGTERM before they are requeued.",
    default=timedelta(seconds=20),
    shown_default="20s",
    option="--shutdown-timeout",
    metavar="DURATION",
)
STOP_TIMEOUT = Setting(
    "STOP_TIMEOUT",
    parse_duration,
    DURATION,
    "How long a run may take to clean up between SIGTERM and SIGKILL, when it is canceled, times out or is interrupted "
    "by a shutdown.",
    default=timedelta(seconds=5),
    shown_default="5s",
    option="--stop-timeout",
    metavar="DURATION",
)
RETENTION = Setting(
    "RETENTION",
    parse_duration,
    DURATION,
    "How long ended tasks are kept, with their results and deliveries, such as 90d.",
    shown_default="forever",
    option="--retention",
    metavar="DURATION",
)
MAX_OUTPUT_FILES = Setting(
    "MAX_OUTPUT_FILES",
    whole_number(0, 100_000),
    "a whole number up to 100000",
    "Maximum number of output files of a task.",
    default=10_000,
    shown_default="10000",
    option="--max-output-files",
    metavar="N",
)
MAX_OUTPUT_FILE_BYTES = Setting(
    "MAX_OUTPUT_FILE_BYTES",
    parse_size,
    SIZE_FORMAT,
    "Maximum size of an output file, such as 5GiB; none for no limit.",
    default=50 * 1024**3,
    shown_default="50GiB",
    option="--max-output-file-bytes",
    metavar="SIZE",
)
MAX_OUTPUT_BYTES = Setting(
    "MAX_OUTPUT_BYTES",
    parse_size,
    SIZE_FORMAT,
    "Maximum size of all output files of a task together, such as 20GiB; none for no limit.",
    default=100 * 1024**3,
    shown_default="100GiB",
    option="--max-output-bytes",
    metavar="SIZE",
)
MAX_REQUEST_BYTES = Setting(
    "MAX_REQUEST_BYTES",
    whole_number(1, 999_999_999),
    "a number of bytes up to 999999999",
    "Maximum size of a request.",
    default=256 * 1024 * 1024,
    shown_default="268435456",
    option="--max-request-bytes",
    metavar="BYTES",
)
MAX_WEBHOOK_BYTES = Setting(
    "MAX_WEBHOOK_BYTES",
    whole_number(1, 999_999_999),
    "a number of bytes up to 999999999",
    "Maximum size of a document for a webhook; a larger one has a URL instead of the results.",
    default=256 * 1024,
    shown_default="262144",
    option="--max-webhook-bytes",
    metavar="BYTES",
)
PUBLIC_URL = Setting(
    "PUBLIC_URL",
    public_url,
    "an http or https URL without a query, such as https://jobs.example.org",
    "URL at which clients reach the service, for the URLs of tasks in webhooks.",
    shown_default="the address that it listens on",
    option="--public-url",
    metavar="URL",
)
MAX_CALLBACKS = Setting(
    "MAX_CALLBACKS",
    whole_number(0, 1000),
    "a whole number up to 1000",
    "Maximum number of targets of a task.",
    default=10,
    shown_default="10",
    option="--max-callbacks",
    metavar="N",
)
MAX_TASKS = Setting(
    "MAX_TASKS",
    whole_number(1, 999_999_999),
    "a whole number above 0",
    "Maximum number of queued and running tasks of one user.",
    default=100_000,
    shown_default="100000",
    option="--max-tasks",
    metavar="N",
)
MAX_BYTES = Setting(
    "MAX_BYTES",
    parse_size,
    SIZE_FORMAT,
    "Maximum storage of all tasks of one user, such as 500GiB; none for no limit.",
    default=100 * 1024**3,
    shown_default="100GiB",
    option="--max-bytes",
    metavar="SIZE",
)
MAX_CONNECTIONS = Setting(
    "MAX_CONNECTIONS",
    whole_number(8, 999_999),
    "a whole number from 8 to 999999",
    "Maximum number of connections; never more than half of the limit on open files.",
    default=1000,
    shown_default="1000",
    option="--max-connections",
    metavar="N",
)
MAX_CONNECTIONS_PER_ADDRESS = Setting(
    "MAX_CONNECTIONS_PER_ADDRESS",
    whole_number(1, 999_999),
    "a whole number from 1 to 999999",
    "Maximum number of connections from one IPv4 address or IPv6 /64 network.",
    default=200,
    shown_default="200",
    option="--max-connections-per-address",
    metavar="N",
)
TRUSTED_PROXIES = Setting(
    "TRUSTED_PROXIES",
    networks_or_none,
    f"{NETWORKS}, or none",
    "Network of trusted reverse proxies, which name the client in X-Forwarded-For; none for no proxies.",
    default=("127.0.0.1/32", "::1/128"),
    shown_default="loopback",
    option="--trusted-proxy",
    metavar="CIDR",
    repeatable=True,
)
RETRY_DELAYS = Setting(
    "RETRY_DELAYS",
    durations,
    DURATIONS,
    "Delay before each retry of a delivery; after the last one the delivery is dead.",
    default=SERVICE_DELAYS,
    shown_default="5s 30s 2m 10m 30m 2h 5h 10h",
    option="--retry-delay",
    metavar="DURATION",
    repeatable=True,
)
METRICS_PORT = Setting(
    "METRICS_PORT",
    whole_number(1, 65535),
    "a whole number from 1 to 65535",
    "Port of a worker's /healthz, /readyz and /metrics.",
    shown_default="not served",
    option="--metrics-port",
    metavar="PORT",
)
STARTUP_TIMEOUT = Setting(
    "STARTUP_TIMEOUT",
    parse_duration,
    DURATION,
    "How long a worker may take until it is ready, before it exits.",
    default=timedelta(minutes=5),
    shown_default="5m",
    option="--startup-timeout",
    metavar="DURATION",
)
STALL_TIMEOUT = Setting(
    "STALL_TIMEOUT",
    parse_duration,
    DURATION,
    "How long an idle worker may receive nothing although tasks were dispatched to it, before it reconnects.",
    default=timedelta(seconds=30),
    shown_default="30s",
    option="--stall-timeout",
    metavar="DURATION",
)
LEASE = Setting(
    "LEASE",
    lease,
    LEASES,
    "How long a worker may be silent before its tasks run again; the same for the service and all workers.",
    default=timedelta(seconds=20),
    shown_default="20s",
    option="--lease",
    metavar="DURATION",
)
LOG_FORMAT = Setting(
    "LOG_FORMAT",
    one_of("text", "json"),
    "text or json",
    "Format of log lines.",
    default="text",
    shown_default="text",
    option="--log-format",
    metavar="text|json",
)
ALLOW_NETWORKS = Setting(
    "ALLOW_NETWORKS",
    networks,
    NETWORKS,
    "Private network that callbacks may reach, such as 10.20.0.0/16:9000 or [fd00::/8]:9000. Without a port: "
    "ports 80 (http) and 443 (https); with :*: every port.",
    default=(),
    option="--allow-network",
    metavar="CIDR[:PORT]",
    repeatable=True,
)
ALLOW_HOSTS = Setting(
    "ALLOW_HOSTS",
    words,
    HOSTS,
    "Host that callbacks may reach regardless of its address, such as minio.internal:9000, or *.NAME for all below it. "
    "Ports as above.",
    default=(),
    option="--allow-host",
    metavar="HOST[:PORT]",
    repeatable=True,
)
PASS_ENV = Setting(
    "PASS_ENV",
    names,
    "names of environment variables, separated by commas or spaces",
    "Environment variable that algorithms see, besides PATH, HOME, LANG, TZ and others without credentials.",
    default=(),
    option="--pass-env",
    metavar="NAME",
    repeatable=True,
)
STORAGE_ENDPOINTS = Setting(
    "STORAGE_ENDPOINTS",
    words,
    ENDPOINTS,
    "URL of a self-hosted object store, so that unsigned URLs there are rejected.",
    default=(),
    option="--storage-endpoint",
    metavar="URL",
    repeatable=True,
)
AISTORE_CLUSTERS = Setting(
    "AISTORE_CLUSTERS",
    clusters,
    CLUSTERS,
    "AIStore clusters: `PROXY`, or `PROXY=SOURCE` with AuthN. PROXY is a URL such as `http://aistore:8080`. SOURCE is "
    "a token, the absolute path of a file with one, or AuthN's URL with user name and password. Uploads follow "
    "redirects to all nodes.",
    default=(),
    secret=True,
)
WEBHOOK_SECRETS = Setting(
    "WEBHOOK_SECRETS",
    secrets,
    "signing secrets, separated by commas or spaces",
    "Secrets that webhooks are signed with, the newest first.",
    default=(),
    secret=True,
)
BUCKET = Setting("BUCKET", str.strip, "the name of a bucket", "Bucket of presigned targets.")
REGION = Setting("REGION", str.strip, "the name of a region, such as eu-central-1", "Region of that bucket.")
AISTORE_ALLOW_HOSTS = Setting(
    "AISTORE_ALLOW_HOSTS",
    words,
    "names or addresses of hosts, with a port or without, separated by commas or spaces",
    "Hosts that AIStore's redirects may lead to, such as node-1 or 10.0.0.5:8081, instead of the nodes of the "
    "cluster's map.",
    default=(),
)
AISTORE_MAX_REDIRECTS = Setting(
    "AISTORE_MAX_REDIRECTS",
    whole_number(0, 100),
    "a whole number from 0 to 100",
    "Maximum number of redirects of one request.",
    default=3,
    shown_default="3",
)
AISTORE_UNKNOWN_NODES = Setting(
    "AISTORE_UNKNOWN_NODES",
    one_of("auto", "follow", "reject"),
    "auto, follow or reject",
    "Redirects of AIStore to other hosts: follow without credentials, reject, or follow if the cluster's map can't be "
    "read (auto).",
    default="auto",
    shown_default="auto",
)
