"""Algorithms of every shape: the service and `callback-sdk run` call them alike."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from callback_sdk import Client
from callback_sdk.commands.run import EXIT_FAILED
from callback_sdk.errors import InvalidRequestError
from tests.integration.callable_jobs import registry
from tests.topology import Topology


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Run a service with such algorithms."""
    with Topology(tmp_path_factory.mktemp("callables"), "callable_jobs:registry") as topology:
        yield topology


@pytest.mark.parametrize("name", list(registry))
def test_each_shape_computes_the_same(client: Client, name: str) -> None:
    """With a parameter, and with its default."""
    assert client.run_algorithm(name, {"a": [1, 2]}).wait(progress=False).predictions == [2, 3]
    task = client.run_algorithm(name, {"a": [1, 2]}, parameters={"plus": 5}).wait(progress=False)
    assert task.predictions == [6, 7]
    if "generator" in name:
        assert task.progress.message == "at 2"


@pytest.mark.parametrize("name", [name for name in registry if name != "position"])
def test_signatures_reject_at_submission(client: Client, name: str) -> None:
    """What doesn't match the annotations is never computed."""
    with pytest.raises(InvalidRequestError, match="'plu' was unexpected"):
        client.run_algorithm(name, {"a": [1]}, parameters={"plu": 5})
    with pytest.raises(InvalidRequestError, match="plus: 'five' is not of type 'integer'"):
        client.run_algorithm(name, {"a": [1]}, parameters={"plus": "five"})
    if name not in ("array", "frame"):
        with pytest.raises(InvalidRequestError, match="Row 1, column 'a'"):
            client.run_algorithm(name, {"a": [1, None]})
    template = json.load(client.get_template(name, "parameters"))
    assert template == {"plus": 1}


def run_linked(tmp_path: Path, **parameters: str) -> subprocess.CompletedProcess[str]:
    """Run an algorithm that saves a directory with links, and collect its output files."""
    (tmp_path / "parameters.json").write_text(json.dumps(parameters))
    arguments = ["linked", "--parameters", str(tmp_path / "parameters.json"), "--outputs", str(tmp_path / "collected")]
    return subprocess.run(
        [sys.executable, "-m", "callback_sdk.cli", "run", "output_jobs:registry", *arguments],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_run_collects_files_behind_links(tmp_path: Path) -> None:
    """A link within a saved directory is its target's content. A link in the place of a collected file is replaced."""
    collected, other = tmp_path / "collected" / "run", tmp_path / "other.txt"
    collected.mkdir(parents=True)
    other.write_bytes(b"other")
    (collected / "latest.txt").symlink_to(other)
    run = run_linked(tmp_path)
    assert run.returncode == 0, run.stderr
    files = {str(path.relative_to(collected)): path for path in collected.rglob("*") if not path.is_dir()}
    assert sorted(files) == ["again/a.txt", "data/a.txt", "latest.txt"]
    assert all(path.read_bytes() == b"a" and not path.is_symlink() for path in files.values())
    assert other.read_bytes() == b"other"


def test_a_run_neither_reads_nor_writes_outside_its_directories(tmp_path: Path) -> None:
    """A link that leads out of the saved directory is an error of the algorithm, one out of the other an error of the
    command.
    """
    secret = tmp_path / "secret.txt"
    secret.write_bytes(b"secret")
    run = run_linked(tmp_path, outside=str(secret))
    assert (run.returncode, "outside.txt" in run.stderr) == (EXIT_FAILED, True), run.stderr
    assert not (tmp_path / "collected").exists()
    away = tmp_path / "away"
    away.mkdir()
    (tmp_path / "collected").mkdir()
    (tmp_path / "collected" / "run").symlink_to(away)
    run = run_linked(tmp_path)
    assert (run.returncode, "leads out of it" in run.stderr) == (1, True), run.stderr
    assert not list(away.iterdir())


@pytest.mark.parametrize("name", ["typed", "async-generator", "class"])
def test_a_run_without_a_service_is_the_same(name: str, tmp_path: Path) -> None:
    """As an author tries it first."""
    (tmp_path / "features.json").write_text('{"a": [1, 2]}')
    (tmp_path / "parameters.json").write_text('{"plus": 5}')
    arguments = ["callable_jobs:registry", name, "--features", str(tmp_path / "features.json")]
    command = [sys.executable, "-m", "callback_sdk.cli", "run", *arguments]
    run = subprocess.run(
        [*command, "--parameters", str(tmp_path / "parameters.json")],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, json.loads(run.stdout or "null")) == (0, {"predictions": [6, 7], "evaluations": None})
