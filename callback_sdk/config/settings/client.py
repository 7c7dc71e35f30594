"""Settings of the client."""

from __future__ import annotations

from datetime import timedelta

from callback_sdk.config.definition import Setting
from callback_sdk.config.values import BOOL, DURATION, secret, secret_url, whole_number
from callback_sdk.parsing import SIZE_FORMAT, parse_bool, parse_duration, parse_size
from callback_sdk.redaction import Secret

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
