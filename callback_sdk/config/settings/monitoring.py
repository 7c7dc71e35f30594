"""Settings of logs and metrics."""

from __future__ import annotations

from callback_sdk.config.definition import Setting
from callback_sdk.config.values import one_of, whole_number

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
