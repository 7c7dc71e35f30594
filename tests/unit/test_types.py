"""Type checkers on users' scripts."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "types" / "script.py"
WRONG = ROOT / "tests" / "types" / "wrong.py"
FILES = (SCRIPT, WRONG)

pytestmark = pytest.mark.checkout


Errors = dict[Path, list[tuple[int, str]]]
"""Lines and texts of the errors in each file."""


def errors_of_mypy() -> Errors:
    """Return the errors of mypy --strict, which shares its cache with `make lint`."""
    options = ["--strict", "--no-error-summary", "--hide-error-context", "--no-pretty"]
    run = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *map(str, FILES)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode in (0, 1), run.stderr
    found = re.findall(r"^([^:]+):(\d+): error: (.*)$", run.stdout, re.MULTILINE)
    return {file: [(int(line), text) for name, line, text in found if ROOT / name == file] for file in FILES}


def errors_of_pyright() -> Errors:
    """Return the errors of pyright; the files themselves ask for the strict mode."""
    options = ["--pythonpath", sys.executable, "--pythonversion", "3.10", "--outputjson"]
    run = subprocess.run(
        [sys.executable, "-m", "pyright", *options, *map(str, FILES)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if "generalDiagnostics" not in run.stdout:
        pytest.skip(f"pyright can't run, as it needs Node.js from the npm registry: {run.stderr[-200:]}")
    found = [one for one in json.loads(run.stdout)["generalDiagnostics"] if one["severity"] == "error"]
    return {
        file: [(one["range"]["start"]["line"] + 1, one["message"]) for one in found if Path(one["file"]) == file]
        for file in FILES
    }


CHECKERS = {"mypy": errors_of_mypy, "pyright": errors_of_pyright}


@pytest.fixture(scope="module", params=CHECKERS)
def errors(request: pytest.FixtureRequest) -> Errors:
    """Return the errors of a type checker, which checks the package only once for both files."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed.")
    return CHECKERS[request.param]()


def test_a_users_script_has_no_type_errors(errors: Errors) -> None:
    """Every public call and callback form passes the strict modes."""
    assert errors[SCRIPT] == []


def test_mistakes_are_type_errors(errors: Errors) -> None:
    """Each marked line is an error, and no other line is."""
    lines = WRONG.read_text().splitlines()
    expected = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    assert len(expected) >= 20
    found = {line: text for line, text in errors[WRONG] if "Unused" not in text}
    assert {line: text for line, text in found.items() if line not in expected} == {}
    assert expected - found.keys() == set()
