"""Settings of deliveries: retries and webhooks."""

from __future__ import annotations

from callback_sdk.config.definition import Setting
from callback_sdk.config.values import DURATIONS, durations, secrets, whole_number
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
    "Secrets that webhooks are signed with, the newest first.",
    default=(),
    secret=True,
)
