"""Results from a file take constant memory, regardless of their size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_results_from_a_file_are_delivered_in_constant_memory() -> None:
    """The short form of the benchmark stays far below the bar: 48 MiB by PUT, POST and gzip, 96 MiB in parts."""
    command = [sys.executable, "-m", "benchmarks.memory", "--size", "48", "--in-parts", "96", "--json"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    ratios = json.loads(run.stdout.splitlines()[-1])["ratios"]
    assert len(ratios) == 5
    assert max(ratios.values()) < 0.5
