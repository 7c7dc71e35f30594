"""The order of files with pytest-xdist: slow ones first, so that no worker ends long after the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

SLOW = (
    "integration/test_slurm.py",
    "integration/test_engines.py",
    "integration/test_crashes.py",
    "integration/test_storage_outage.py",
    "acceptance/test_demo.py",
    "acceptance/test_incident.py",
    "integration/test_hosts.py",
    "integration/test_upgrade.py",
    "acceptance/test_notebooks.py",
    "integration/test_api.py",
    "integration/test_worker_reliability.py",
    "acceptance/test_reload.py",
    "integration/test_service.py",
    "integration/test_rolling_upgrade.py",
    "unit/service/store/test_hosts.py",
    "unit/test_docs.py",
    "integration/test_local_servers.py",
    "acceptance/test_crash.py",
    "acceptance/test_service_cli.py",
    "integration/test_aistore_roles.py",
    "unit/test_types.py",
    "integration/test_multipart.py",
    "integration/test_output_deliveries.py",
    "integration/test_echoes.py",
    "integration/test_rights.py",
    "integration/test_reverse_proxy.py",
    "integration/test_fair_sharing.py",
    "unit/test_redaction.py",
    "integration/test_output_files.py",
    "integration/test_outputs_outbox.py",
    "integration/test_results_bucket.py",
    "integration/test_mutations.py",
    "integration/test_target_matrix.py",
    "integration/test_aistore.py",
    "acceptance/test_documentation.py",
    "acceptance/test_cli.py",
    "integration/test_multipart_kills.py",
    "integration/test_tracing.py",
    "integration/test_refresh.py",
    "integration/test_azure_blocks.py",
    "integration/test_gcs_resumable.py",
    "integration/test_setup.py",
    "integration/test_authoring.py",
    "acceptance/test_memory.py",
    "integration/test_hostile.py",
    "acceptance/test_run_cli.py",
    "acceptance/test_pages_browser.py",
    "integration/test_devices.py",
    "integration/test_aistore_patch.py",
    "integration/test_aistore_tls.py",
    "integration/test_pages.py",
    "integration/test_testing.py",
    "integration/test_callables.py",
    "integration/test_aistore_writer.py",
    "integration/test_aistore_aiobotocore.py",
    "integration/test_hostile_access.py",
    "acceptance/test_exec.py",
    "acceptance/test_outbox_cli.py",
    "integration/test_processes.py",
    "integration/test_openapi.py",
    "integration/test_worker_metrics.py",
)
"""Files in `tests` with tests that mostly start processes or wait for timeouts, slowest first."""


def slow_first(items: Sequence[tuple[str, T]]) -> list[T]:
    """Order tests by their files: the slow ones first.

    `--dist loadfile` gives each worker that becomes idle the next file. So what a file starts for its tests, such as a
    service, is started once, and the last files to run are fast.

    Args:
        items: The tests with their files, as paths relative to `tests`.
    """
    ranks = {file: rank for rank, file in enumerate(SLOW)}
    return [test for _, test in sorted(items, key=lambda item: ranks.get(item[0], len(SLOW)))]


def file_below(path: Path, tests: Path) -> str:
    """Return the path of a file relative to the directory of tests, with slashes."""
    return path.relative_to(tests).as_posix() if path.is_relative_to(tests) else path.as_posix()
