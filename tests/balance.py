"""The order of tests with pytest-xdist: each worker begins with slow tests and ends with quick ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

SLOW = (
    "acceptance/test_crash.py",
    "integration/test_storage_outage.py",
    "integration/test_engines.py",
    "integration/test_worker_reliability.py",
    "acceptance/test_demo.py",
    "acceptance/test_service_cli.py",
    "acceptance/test_notebooks.py",
    "integration/test_service.py",
    "integration/test_upgrade.py",
    "integration/test_api.py",
    "integration/test_local_servers.py",
    "acceptance/test_cli.py",
    "acceptance/test_memory.py",
    "integration/test_worker_metrics.py",
    "integration/test_openapi.py",
)
"""Files below `tests` of which most tests start processes or wait for timeouts, the slowest first."""


def balanced(items: Sequence[tuple[str, T]], workers: int) -> list[T]:
    """Return tests in an order of which each of the workers gets an equal, contiguous part to begin with.

    `--dist worksteal` deals them out like that, and an idle worker takes tests from the end of another one's part. So
    the last tests to run are quick ones, and no worker is left alone with a slow one.

    Args:
        items: The tests with their files, as paths below `tests`.
        workers: How many there are.
    """
    quick = [item for file, item in items if file not in SLOW]
    present = [file for file in SLOW if any(file == name for name, _ in items)]
    order: list[T] = []
    for number in range(workers):
        left = workers - number
        files = present[number::workers]
        slow = [item for file in files for name, item in items if name == file]
        # As many as xdist gives to this worker: an equal share of what is left.
        size = (len(items) - len(order)) // left
        share = max(0, size - len(slow)) if left > 1 else len(quick)
        order += slow + quick[:share]
        del quick[:share]
    return order


def file_below(path: Path, tests: Path) -> str:
    """Return the path of a file below the folder of tests, with slashes."""
    return path.relative_to(tests).as_posix() if path.is_relative_to(tests) else path.as_posix()
