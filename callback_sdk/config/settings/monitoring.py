"""Settings of logs, metrics and alerts."""

from __future__ import annotations

from datetime import timedelta

from callback_sdk.config.definition import Setting
from callback_sdk.config.values import DURATION, one_of, secret_url, secrets, whole_number
from callback_sdk.parsing import parse_duration

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
METRICS_PORT = Setting(
    "METRICS_PORT",
    whole_number(1, 65535),
    "a whole number from 1 to 65535",
    "Port of a worker's /healthz, /readyz and /metrics.",
    shown_default="not served",
    option="--metrics-port",
    metavar="PORT",
)
ALERT_URL = Setting(
    "ALERT_URL",
    secret_url,
    "an http or https URL",
    "Webhook that gets the service's alerts; its host may be private. Put a URL with a credential into the variable.",
    shown_default="none",
    secret=True,
    option="--alert-url",
    metavar="URL",
)
ALERT_SECRETS = Setting(
    "ALERT_SECRETS",
    secrets,
    "signing secrets, separated by commas or spaces",
    "Secrets that alerts are signed with, the newest first.",
    default=(),
    shown_default="those of webhooks",
    secret=True,
)
ALERT_QUEUE_AGE = Setting(
    "ALERT_QUEUE_AGE",
    parse_duration,
    DURATION,
    "Age of the oldest queued task, or of a due delivery, from which on there is an alert.",
    default=timedelta(minutes=15),
    shown_default="15m",
    option="--alert-queue-age",
    metavar="DURATION",
)
