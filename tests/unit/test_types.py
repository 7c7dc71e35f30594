"""Type checkers on users' scripts."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "types" / "script.py"
WRONG = ROOT / "tests" / "types" / "wrong.py"

pytestmark = pytest.mark.checkout


def errors_of_mypy(file: Path, cache: Path) -> list[tuple[int, str]]:
    """Return lines and texts of the errors of mypy --strict."""
    options = ["--strict", "--no-error-summary", "--hide-error-context", "--no-pretty", "--cache-dir", str(cache)]
    run = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode in (0, 1), run.stderr
    found = re.findall(rf"^{re.escape(str(file.relative_to(ROOT)))}:(\d+): error: (.*)$", run.stdout, re.MULTILINE)
    return [(int(line), text) for line, text in found]


def errors_of_pyright(file: Path, _: Path) -> list[tuple[int, str]]:
    """Return lines and texts of the errors of pyright; the file itself asks for the strict mode."""
    options = ["--pythonpath", sys.executable, "--pythonversion", "3.10", "--outputjson"]
    run = subprocess.run(
        [sys.executable, "-m", "pyright", *options, str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if "generalDiagnostics" not in run.stdout:
        pytest.skip(f"pyright can't run, as it needs Node.js from the npm registry: {run.stderr[-200:]}")
    diagnostics = json.loads(run.stdout)["generalDiagnostics"]
    return [
        (found["range"]["start"]["line"] + 1, found["message"])
        for found in diagnostics
        if found["severity"] == "error" and Path(found["file"]) == file
    ]


CHECKERS = {"mypy": errors_of_mypy, "pyright": errors_of_pyright}


@pytest.fixture(scope="module", params=CHECKERS)
def errors(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], list[tuple[int, str]]]:
    """Return a type checker, which checks the package only once."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed.")
    cache = tmp_path_factory.mktemp("cache")
    return lambda file: CHECKERS[request.param](file, cache)


def test_a_users_script_has_no_type_errors(errors: Callable[[Path], list[tuple[int, str]]]) -> None:
    """Every public call and callback form passes the strict modes."""
    assert errors(SCRIPT) == []


def test_mistakes_are_type_errors(errors: Callable[[Path], list[tuple[int, str]]]) -> None:
    """Each marked line is an error, and no other line is."""
    lines = WRONG.read_text().splitlines()
    expected = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    assert len(expected) >= 20
    found = {line: text for line, text in errors(WRONG) if "Unused" not in text}
    assert {line: text for line, text in found.items() if line not in expected} == {}
    assert expected - found.keys() == set()
