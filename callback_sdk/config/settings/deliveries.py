"""Settings of deliveries: retries, circuits and limits of hosts, and webhooks."""

from __future__ import annotations

from datetime import timedelta

from callback_sdk.concurrency.circuit import FAILURES
from callback_sdk.config.definition import Setting
from callback_sdk.config.values import DURATION, DURATIONS, RATES, durations, rate, secrets, whole_number
from callback_sdk.parsing import parse_duration
from callback_sdk.transport.retry import SERVICE_DELAYS

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
EVENT_INTERVAL = Setting(
    "EVENT_INTERVAL",
    parse_duration,
    DURATION,
    "Shortest time between two progress events of a task at one target.",
    default=timedelta(seconds=5),
    shown_default="5s",
    option="--event-interval",
    metavar="DURATION",
)
CIRCUIT_FAILURES = Setting(
    "CIRCUIT_FAILURES",
    whole_number(1, 999_999_999),
    "a whole number above 0",
    "Transient failures in a row after which deliveries to a host are held, and one at a time tests it.",
    default=FAILURES,
    shown_default="5",
    option="--circuit-failures",
    metavar="N",
)
MAX_HOLD = Setting(
    "MAX_HOLD",
    parse_duration,
    DURATION,
    "How long a delivery is held for a host that stays unavailable, before it is dead.",
    default=timedelta(days=7),
    shown_default="7d",
    option="--max-hold",
    metavar="DURATION",
)
HOST_CONCURRENCY = Setting(
    "HOST_CONCURRENCY",
    whole_number(1, 10_000),
    "a whole number from 1 to 10000",
    "Maximum number of deliveries to one host at a time, over all services and workers.",
    shown_default="8 per process",
    option="--host-concurrency",
    metavar="N",
)
HOST_RATE = Setting(
    "HOST_RATE",
    rate,
    RATES,
    "Maximum rate of deliveries to one host, over all services and workers, such as 10/s.",
    shown_default="no limit",
    option="--host-rate",
    metavar="RATE",
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
WEBHOOK_SECRETS = Setting(
    "WEBHOOK_SECRETS",
    secrets,
    "signing secrets, separated by commas or spaces",
    "Secrets that webhooks are signed with, the newest first. A service signs those of tasks with secrets of their "
    "users instead: callback-sdk secrets.",
    default=(),
    secret=True,
)
