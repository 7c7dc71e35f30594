"""callback_sdk.service.work.startup, in the child process of a ChildProcess"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callback_sdk.errors import ConfigurationError
from callback_sdk.service.work import watch
from callback_sdk.service.work.child import RunSpec
from callback_sdk.service.work.outcome import SHUTDOWN, StopSignal
from callback_sdk.service.work.process import ChildProcess, SetupError
from tests.clocks import hour_passes_when

JOBS = "tests.integration.setup_jobs:registry"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the directory that controls the setups."""
    monkeypatch.setenv("PYTHON_SETUP_JOBS", str(tmp_path))
    return tmp_path


@pytest.fixture
def process(folder: Path) -> Iterator[ChildProcess]:
    """Give a process for runs, and end it."""
    process = ChildProcess(JOBS, max_retained_bytes=100_000_000)
    yield process
    process.close()


def loaded(folder: Path) -> list[str]:
    return [line.rpartition(" ")[0] for line in (folder / "log").read_text().splitlines()]


def run(process: ChildProcess, folder: Path, algorithm: str, **parameters: Any) -> Any:
    """Return the predictions of a run."""
    (folder / "features").write_bytes(b'{"a": [1]}')
    paths = {name: folder / name for name in ("features", "results", "progress", "output", "outputs", "stop")}
    spec = RunSpec(
        registry=JOBS,
        algorithm=algorithm,
        version="1.0.0",
        job_id="1",
        attempt=1,
        evaluate=False,
        parameters=parameters,
        features_format="json",
        directory=folder,
        memory_limit=math.inf,
        **paths,
    )
    described = process.describe()
    version = next(one for one in described.versions if one.name == algorithm)
    outcome = process.run(spec, timeout=version.timeout, stop=StopSignal())
    assert outcome.result is not None
    assert outcome.result.error is None
    return json.loads(spec.results.read_bytes())["predictions"]


def test_setups_are_called_once_before_the_first_run(process: ChildProcess, folder: Path) -> None:
    """The registry's first; what they return and change remains, and so do the processes that they have started."""
    assert process.prepare(StopSignal())
    assert process.is_prepared
    assert loaded(folder) == ["imported", "set up", "own set up", "class set up"]
    *values, pid = run(process, folder, "shared", change=True)
    assert values == [3, True, "changed"]
    # The change of a run is undone, that of the setup isn't.
    assert run(process, folder, "shared") == [3, True, "kept", pid]
    assert run(process, folder, "own") == "own"
    # The memory that a setup takes isn't what runs have left.
    assert run(process, folder, "class") == [300_000_000, 3]
    assert run(process, folder, "shared") == [3, True, "kept", pid]
    assert len(loaded(folder)) == 4


def test_a_process_is_replaced_with_its_setups(process: ChildProcess, folder: Path) -> None:
    """After a crash, before the next run."""
    first = run(process, folder, "shared")
    with pytest.raises(AssertionError):
        run(process, folder, "shared", die=True)
    assert not process.is_prepared
    second = run(process, folder, "shared")
    assert first[-1] != second[-1]
    assert loaded(folder).count("class set up") == 2


def test_a_process_calls_only_the_setups_of_its_algorithms(folder: Path) -> None:
    """And the registry's."""
    process = ChildProcess(JOBS, algorithms=("shared",))
    try:
        assert process.prepare(StopSignal())
    finally:
        process.close()
    assert loaded(folder) == ["imported", "set up"]


def test_what_is_registered_is_known_without_setups(process: ChildProcess, folder: Path) -> None:
    """Names, limits and schemas."""
    described = process.describe()
    assert [one.name for one in described.versions] == ["shared", "own", "class"]
    assert [name for name, _ in described.setups] == ["the registry", "'own' 1.0.0", "'class' 1.0.0"]
    assert described.versions[1].parameters is not None
    assert loaded(folder) == ["imported"]
    assert process.prepare(StopSignal())
    assert loaded(folder).count("imported") == 1


@pytest.mark.parametrize(
    ("control", "words"),
    [
        ("fail", r"The setup of the registry failed: RuntimeError: no model at .*log"),
        ("die", "The setup of the registry failed: its process ended with exit code 3"),
    ],
)
def test_a_setup_that_fails(process: ChildProcess, folder: Path, control: str, words: str) -> None:
    """The error says why; a later attempt starts a new process."""
    (folder / control).touch()
    with pytest.raises(SetupError, match=words):
        process.prepare(StopSignal())
    assert not process.is_prepared
    with pytest.raises(SetupError):
        run(process, folder, "shared")
    (folder / control).unlink()
    assert process.prepare(StopSignal())


SLOW = """
import time
from pathlib import Path
from callback_sdk.service import Registry

registry = Registry()

def load_model():
    {loading}

@registry.setup(timeout=60)
def load():
    load_model()

registry.algorithm("a")(lambda features: 1)
{importing}
"""
HANG = "Path(__file__).with_name('started').touch(), time.sleep(600)"


@pytest.mark.parametrize(
    ("loading", "importing", "words"),
    [
        (
            HANG,
            "",
            r"The setup of the registry took longer than 0:01:00. It was in load_model \(.*9\), called by load .*13",
        ),
        (
            "",
            HANG,
            r"The import of 'slow:registry' took longer than 0:05:00. It was in <module> \(.*slow.py, line 16\)",
        ),
    ],
)
def test_an_error_says_where_a_setup_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loading: str, importing: str, words: str
) -> None:
    """In the frames of the author's code."""
    (tmp_path / "slow.py").write_text(SLOW.format(loading=loading or "pass", importing=importing))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(watch, "time", hour_passes_when((tmp_path / "started").exists))
    process = ChildProcess("slow:registry")
    try:
        with pytest.raises(SetupError, match=words):
            process.prepare(StopSignal())
    finally:
        process.close()


def test_a_setup_can_be_stopped(process: ChildProcess, folder: Path) -> None:
    """At a shutdown."""
    (folder / "hang").touch()
    stop = StopSignal()
    stop.request(SHUTDOWN)
    assert not process.prepare(stop)


@pytest.mark.parametrize(
    ("registry", "error", "words"),
    [
        ("nothing_here:registry", ConfigurationError, "Module 'nothing_here' of .* doesn't exist"),
        ("tests.integration.setup_jobs:registri", ConfigurationError, "Did you mean 'registry'"),
        ("broken:registry", ConfigurationError, "ZeroDivisionError"),
        ("misshapen:registry", ConfigurationError, "Argument 'x' of 'f' has no annotation"),
    ],
)
def test_a_wrong_registry_is_an_error(
    registry: str, error: type[Exception], words: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its settings, or of its code."""
    (folder / "broken.py").write_text("1 / 0\n")
    (folder / "misshapen.py").write_text(
        "from callback_sdk.service import Registry\nregistry = Registry()\n\n"
        "@registry.algorithm('x')\ndef f(x):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    process = ChildProcess(registry)
    try:
        with pytest.raises(error, match=words):
            process.describe()
        with pytest.raises(SetupError, match=words):
            process.prepare(StopSignal())
    finally:
        process.close()
