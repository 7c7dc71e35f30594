"""What an algorithm may do to its process, and what the next task notices of it: the table in docs/processes.md."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from callback_sdk.service.work.outcome import Outcome, StopSignal
from callback_sdk.service.work.process import ChildProcess
from tests.integration import process_cases
from tests.integration.process_cases import CASES, CRASHES, FAILS, NEW, SAME, SUCCEEDS, Case
from tests.unit.service.work.test_process import LONG, run_spec

JOBS = "tests.integration.process_cases:registry"
PAGE = Path(__file__).parents[2] / "docs" / "processes.md"


@pytest.fixture(scope="module")
def process() -> Iterator[ChildProcess]:
    """Give a process for all cases, one after the other, and end it."""
    process = ChildProcess(JOBS, stop_timeout=timedelta(seconds=5))
    yield process
    process.close()


def run(process: ChildProcess, folder: Path, algorithm: str) -> Outcome:
    found = process_cases.registry.get(algorithm)
    folder.mkdir()
    spec = run_spec(folder, algorithm, registry=JOBS, limit=found.memory_limit or math.inf)
    # Like a service: the paths of Unix sockets in pytest's directory would be too long.
    with tempfile.TemporaryDirectory() as directory:
        spec = evolve(spec, directory=Path(directory))
        return process.run(spec, timeout=min(found.timeout, LONG), stop=StopSignal())


def probe(process: ChildProcess, folder: Path) -> dict[str, Any]:
    outcome = run(process, folder, "probe")
    assert outcome.result is not None
    assert outcome.result.error is None
    assert (folder / "output").read_bytes() == b"printed"
    found: dict[str, Any] = json.loads((folder / "results").read_bytes())["predictions"]
    return found


def label(outcome: Outcome) -> str:
    if outcome.crash is not None:
        return CRASHES
    return SUCCEEDS if outcome.result is not None and outcome.result.error is None else FAILS


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_next_task_notices_nothing(process: ChildProcess, tmp_path: Path, case: Case) -> None:
    """Its process is as it was at the start, and a new one only where the table says so."""
    before = probe(process, tmp_path / "before")
    outcome = run(process, tmp_path / "case", case.name)
    after = probe(process, tmp_path / "after")
    assert label(outcome) == case.task, outcome
    assert after["state"] == before["state"]
    assert (SAME if after["pid"] == before["pid"] else NEW) == case.process
    assert not set(after["random"]) & set(before["random"])


def test_no_run_draws_the_numbers_of_another(process: ChildProcess, tmp_path: Path) -> None:
    """Neither those after a seed that an earlier run has set, nor those of an earlier run."""
    run(process, tmp_path / "seeds", "seeds")
    drawn = [probe(process, tmp_path / str(number))["random"] for number in range(3)]
    assert len({number for pair in drawn for number in pair}) == 6
    assert not {0.13436424411240122, 0.417022004702574} & {number for pair in drawn for number in pair}


def test_the_table_in_the_documentation_is_complete() -> None:
    """It has one row for each case, in this order."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
    assert rows[1:] == [(case.text, case.task, case.process) for case in CASES]
