"""aiobotocore and s3fs with AIStore, which need another botocore than the newest boto3: in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import missing_server

ROOT = Path(__file__).parents[2]
CASES = "tests/integration/aiobotocore_cases.py"
AIOBOTOCORE = Path(sys.prefix) / "aiobotocore"


def test_all_cases_pass() -> None:
    """The output names a case that fails."""
    if not AIOBOTOCORE.is_dir():
        missing_server("There is no aiobotocore; make aiobotocore installs it.")
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", CASES],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(AIOBOTOCORE), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
