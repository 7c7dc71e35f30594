"""Settings that limit what one task or one user may take up."""

from __future__ import annotations

from callback_sdk.config.definition import Setting
from callback_sdk.config.values import whole_number
from callback_sdk.parsing import SIZE_FORMAT, parse_size

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
