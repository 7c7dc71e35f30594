"""`callback-sdk run`: an algorithm without a service."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

JOBS = """
import os, time
from datetime import timedelta
from pathlib import Path
from callback_sdk.errors import AlgorithmError
from callback_sdk.service import Registry, RunInterrupt

registry = Registry()

@registry.algorithm("scale", memory_limit=400_000_000)
@registry.algorithm("hurried", timeout=timedelta(seconds=0.5))
def scale(features, parameters, context):
    context.report_progress(0.5, "halfway")
    print("printed by the algorithm")
    what = parameters.get("what")
    if what == "fail":
        raise AlgorithmError("No.", hint="Yes.")
    if what == "die":
        os._exit(3)
    if what == "sleep":
        Path("started").write_text(str(os.getpid()))
        try:
            time.sleep(60)
        except RunInterrupt as interrupt:
            Path("stopped").write_text(interrupt.reason)
            raise
    if what == "grow":
        kept = bytearray(600_000_000)
        time.sleep(60)
    return {"predictions": [value * parameters.get("factor", 2) for value in features.to_dict()["a"]]}

@registry.fit("scale")
def fit(features, parameters, context):
    context.save_model(b"a model")
    return {"predictions": "trained"}

@registry.algorithm("shown")
def shown(features, parameters, context):
    return context.model_path.read_text()

@registry.algorithm("typed")
def typed(b: list[float], digits: int = 2):
    return b

@registry.algorithm("counted")
def counted(start: int, step: int = 1):
    return [start, start + step]

@registry.algorithm("variables")
def variables(features, parameters, context):
    return {name: text for name, text in os.environ.items() if "MARKER" in name}
"""
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a directory with an algorithm and features."""
    (tmp_path / "jobs.py").write_text(JOBS)
    (tmp_path / "features.json").write_text('{"a": [1, 2]}')
    (tmp_path / "b.json").write_text('{"b": [1, 2]}')
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "callback_sdk.cli", "run", "jobs:registry", *arguments]


def run(
    folder: Path, *arguments: str, algorithm: str = "scale", **parameters: object
) -> subprocess.CompletedProcess[str]:
    (folder / "parameters.json").write_text(json.dumps(parameters))
    given = ("--features", "features.json", "--parameters", "parameters.json", *arguments)
    return subprocess.run(
        command(algorithm, *given),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_results_are_printed_as_json(folder: Path) -> None:
    """Standard output has only the results, and `--fit` calls the training."""
    done = run(folder, factor=3)
    assert (done.returncode, done.stderr) == (0, "printed by the algorithm\n")
    assert json.loads(done.stdout) == {"predictions": [3, 6], "evaluations": None}
    assert json.loads(run(folder, "--fit").stdout)["predictions"] == "trained"


def test_a_model_goes_from_training_to_use(folder: Path) -> None:
    """Through a file."""
    assert run(folder, "--fit", "--export", "model").returncode == 0
    assert (folder / "model").read_bytes() == b"a model"
    given = ("--features", "features.json", "--model", "model")
    done = subprocess.run(
        command("shown", *given),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert json.loads(done.stdout)["predictions"] == "a model"
    assert run(folder, "--export", "model").returncode == 2
    assert run(folder, "--model", "nothing").returncode == 1


def test_an_algorithm_may_take_only_parameters(folder: Path) -> None:
    """Without --features; the parameters may be JSON on the command line."""
    done = subprocess.run(
        command("counted", "--parameters", '{"start": 3}'),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert json.loads(done.stdout)["predictions"] == [3, 4]


def test_a_failing_setup_is_shown_with_its_traceback(folder: Path) -> None:
    """As is what was printed before it, because there is no log of a service."""
    (folder / "failing.py").write_text(
        "from callback_sdk.service import Registry\n"
        "registry = Registry()\n"
        "print('printed by the import', flush=True)\n"
        "@registry.setup\n"
        "def load():\n"
        "    raise RuntimeError('no model at https://h.example/m?sig=s3cret')\n"
        "@registry.algorithm('f')\n"
        "def f(n: int = 1):\n"
        "    return n\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "callback_sdk.cli", "run", "failing:registry", "f"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "printed by the import" in done.stderr
    assert done.stderr.count("Traceback (most recent call last)") == 1
    assert 'failing.py", line 6, in load' in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: The setup of the registry failed: RuntimeError: no model at")
    assert done.stderr.endswith("The details are above.\n")
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize(
    ("options", "setting", "names"),
    [
        ((), "", set()),
        (("--pass-env", "A_MARKER"), "", {"A_MARKER"}),
        ((), "B_MARKER", {"B_MARKER"}),
    ],
)
def test_the_environment_is_that_of_a_service(
    folder: Path, options: tuple[str, ...], setting: str, names: set[str]
) -> None:
    """An algorithm gets the same environment variables as in a service, by option or environment."""
    done = subprocess.run(
        command("variables", "--features", "features.json", *options),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "A_MARKER": "a", "B_MARKER": "b", "CALLBACK_SDK_PASS_ENV": setting},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert set(json.loads(done.stdout)["predictions"]) == names


@pytest.mark.parametrize(
    ("what", "algorithm", "reason"),
    [
        ("fail", "scale", "AlgorithmError: No. Yes."),
        ("die", "scale", "exit code 3"),
        ("sleep", "hurried", "longer than 0:00:00.5"),
        ("grow", "scale", "MB of memory (limit 400.0 MB). Send less data"),
    ],
)
def test_an_algorithm_that_fails_ends_with_3(folder: Path, what: str, algorithm: str, reason: str) -> None:
    """With the reason that the task would have; the author sees the traceback, also of where a timeout stopped it."""
    done = run(folder, algorithm=algorithm, what=what)
    assert (done.returncode, done.stdout) == (3, "")
    assert reason in done.stderr.splitlines()[-1]
    assert ("Traceback" in done.stderr) is (what in ("fail", "sleep"))
    # Of the algorithm alone.
    assert "/callback_sdk/" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("scall", "--features", "features.json"), 1, "Did you mean 'scale'?"),
        (("scale", "--features", "features.json", "--version", "2"), 1, "1.0.0"),
        (("scale", "--features", "nothing.json"), 1, "nothing.json"),
        (("scale", "--features", "jobs.py"), 1, "neither Parquet nor JSON"),
        (("scale", "--features", "features.json", "--parameters", "jobs.py"), 2, "--parameters"),
        (("typed",), 1, "The task has no features"),
        (("typed", "--features", "features.json"), 1, "Column 'b' is missing"),
        (("typed", "--features", "b.json", "--parameters", "features.json"), 1, "'a' was unexpected"),
    ],
)
def test_errors_before_a_run_name_the_cause(folder: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    """They are printed without a traceback."""
    done = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupt_stops_the_algorithm(folder: Path) -> None:
    """Ctrl-C exits with 130 and ends the child process, after it has cleaned up."""
    (folder / "parameters.json").write_text('{"what": "sleep"}')
    given = ("scale", "--features", "features.json", "--parameters", "parameters.json")
    with subprocess.Popen(
        command(*given), cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
    ) as process:
        end = time.monotonic() + 60
        while not (folder / "started").exists() or not (folder / "started").read_text():
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert (folder / "stopped").read_text() == "cancel"
    assert not psutil.pid_exists(int((folder / "started").read_text()))
