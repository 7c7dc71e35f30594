"""Settings of the runs of algorithms: processes, memory, output files and environment."""

from __future__ import annotations

from datetime import timedelta

from callback_sdk.config.definition import Setting
from callback_sdk.config.values import DURATION, device_ids, names, whole_number
from callback_sdk.parsing import SIZE_FORMAT, parse_duration, parse_size

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
