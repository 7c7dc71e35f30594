"""The order of tests with pytest-xdist: each worker starts with slow tests and ends with fast ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

SLOW = (
    "acceptance/test_crash.py",
    "integration/test_engines.py",
    "integration/test_storage_outage.py",
    "acceptance/test_demo.py",
    "acceptance/test_service_cli.py",
    "integration/test_api.py",
    "integration/test_worker_reliability.py",
    "integration/test_upgrade.py",
    "acceptance/test_notebooks.py",
    "integration/test_service.py",
    "acceptance/test_cli.py",
    "integration/test_authoring.py",
    "acceptance/test_outbox_cli.py",
    "integration/test_local_servers.py",
    "integration/test_tracing.py",
    "acceptance/test_run_cli.py",
    "integration/test_aistore_patch.py",
    "integration/test_openapi.py",
    "integration/test_hostile_access.py",
    "acceptance/test_memory.py",
    "integration/test_worker_metrics.py",
    "unit/test_types.py",
)
"""Files in `tests` with tests that mostly start processes or wait for timeouts, slowest first."""


def balanced(items: Sequence[tuple[str, T]], workers: int) -> list[T]:
    """Order tests so that each contiguous, equal part starts with slow tests and ends with fast ones.

    `--dist worksteal` gives each worker such a part, and an idle worker takes tests from the end of another part. So
    the last tests to run are fast, and no worker ends long after the others.

    Args:
        items: The tests with their files, as paths relative to `tests`.
        workers: Number of workers.
    """
    quick = [item for file, item in items if file not in SLOW]
    present = [file for file in SLOW if any(file == name for name, _ in items)]
    order: list[T] = []
    for number in range(workers):
        left = workers - number
        files = present[number::workers]
        slow = [item for file in files for name, item in items if name == file]
        # The number of tests that xdist assigns to this worker: an equal share of the rest.
        size = (len(items) - len(order)) // left
        share = max(0, size - len(slow)) if left > 1 else len(quick)
        order += slow + quick[:share]
        del quick[:share]
    return order


def file_below(path: Path, tests: Path) -> str:
    """Return the path of a file relative to the directory of tests, with slashes."""
    return path.relative_to(tests).as_posix() if path.is_relative_to(tests) else path.as_posix()
