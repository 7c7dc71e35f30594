"""Settings of engine and workers."""

from __future__ import annotations

from datetime import timedelta

from callback_sdk.config.definition import Setting
from callback_sdk.config.values import BROKER_URLS, DURATION, LEASES, lease, secret
from callback_sdk.parsing import parse_duration

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
