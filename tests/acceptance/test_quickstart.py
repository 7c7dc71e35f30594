"""The quickstart in a new directory, with only the package installed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "quickstart.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (jobs\.py|submit\.py)\n(.*?)```", PAGE, re.DOTALL))


def test_an_own_algorithm_takes_fifteen_lines() -> None:
    """Of code, in both files together."""
    lines = [line for text in FILES.values() for line in text.splitlines() if line.strip()]
    assert sorted(FILES) == ["jobs.py", "submit.py"]
    assert len(lines) <= 15


def test_the_quickstart_delivers_a_result(tmp_path: Path) -> None:
    """The lines run unchanged, in an empty directory."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    run = subprocess.run(
        [sys.executable, "submit.py"], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert run.returncode == 0, run.stderr
    document = json.loads(run.stdout)
    assert list(document) == ["job_id", "status", "callback_param", "success", "results"]
    assert document["results"]["predictions"]["temperature"] == sum([9.5, 14.2, 7.1]) / 3
