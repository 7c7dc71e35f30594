"""Algorithms of every shape: the service and `callback-sdk run` call them alike."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from callback_sdk import Client
from callback_sdk.errors import InvalidRequestError
from tests.integration.callable_jobs import registry
from tests.topology import Topology


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Run a service with such algorithms."""
    with Topology(tmp_path_factory.mktemp("callables"), "callable_jobs:registry") as topology:
        yield topology


@pytest.fixture
def client(topology: Topology) -> Iterator[Client]:
    """Give the first user's client."""
    with topology.client() as client:
        yield client


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
