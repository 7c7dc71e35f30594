"""What the author of an algorithm gives it, as whoever uses it through the service sees it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from callback_sdk import Client
from callback_sdk.errors import InvalidRequestError, NotFoundError
from callback_sdk.testing import WebhookReceiver
from tests.topology import Topology


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Give a client of a service with such an algorithm."""
    with (
        Topology(tmp_path_factory.mktemp("authored"), "authored_jobs:registry") as topology,
        topology.client() as client,
    ):
        yield client


def run(client: Client, features: Any, **options: Any) -> Any:
    return client.run_algorithm("scale", features, **options).wait(progress=False)


def test_evaluations_and_monitors_come_with_the_predictions(client: Client) -> None:
    """In the task, and in the document that its targets get; a broken one costs nothing else."""
    with WebhookReceiver() as webhook:
        task = run(client, {"a": [1, 2]}, callbacks=[webhook.url])
        (request,) = webhook.wait_for(1)
    assert task.predictions == [2, 4]
    assert task.evaluations["total"] == 6
    assert "IndexError" in task.evaluations["broken"]["error"]
    assert task.monitors == {"largest": 4}
    results = request.document["results"]
    assert (results["evaluations"], results["monitors"]) == (task.evaluations, task.monitors)


def test_what_is_not_asked_for_is_not_called(client: Client) -> None:
    """All, some, or none; and unknown names are refused before anything is computed."""
    assert run(client, {"a": [1]}, evaluate={"total": {}}).evaluations == {"total": 2}
    task = run(client, {"a": [1]}, evaluate=False, monitor=False)
    assert (task.evaluations, task.monitors) == (None, None)
    with pytest.raises(InvalidRequestError, match=r"no evaluation 'totl'.*It has total, broken"):
        client.run_algorithm("scale", {"a": [1]}, evaluate={"totl": {}})


@pytest.mark.parametrize(
    ("features", "parameters", "words"),
    [
        ({"b": [1]}, None, "There is no column 'a'"),
        ({"a": [1, None]}, None, "Row 1, column 'a'"),
        ({"a": [1]}, {"factor": "two"}, "factor: 'two' is not of type 'number'"),
        ({"a": [1]}, {"facter": 2}, "'facter' was unexpected"),
    ],
)
def test_what_does_not_fit_is_refused_at_once(client: Client, features: Any, parameters: Any, words: str) -> None:
    """With the column and the row; also within a batch."""
    with pytest.raises(InvalidRequestError, match=words):
        client.run_algorithm("scale", features, parameters=parameters)
    with pytest.raises(InvalidRequestError, match=rf"tasks\[0\].*{words}"):
        client.run_algorithm_batch("scale", [features], parameters=parameters, progress=False)


def test_large_features_are_checked_when_they_are_read(client: Client) -> None:
    """The task fails with the same words: what is large is not read twice."""
    table = pd.DataFrame({"a": [*map(float, range(50_000)), None]})
    task = run(client, table.astype(object).where(table.notna(), None))
    assert task.success is False
    assert "Row 50000, column 'a'" in task.error


def test_templates_and_pictures_are_made(client: Client) -> None:
    """From what is declared, and they can be sent back as they are."""
    assert json.load(client.get_template("scale")) == {"a": [0.0]}
    parameters = json.load(client.get_template("scale", "parameters"))
    assert run(client, json.load(client.get_template("scale")), parameters=parameters).predictions == [0]
    assert Image.open(io.BytesIO(client.get_graph("scale").read())).format == "PNG"
    algorithm = client.get_algorithm("scale")
    assert algorithm.evaluations == ("total", "broken")


def test_training_needs_no_such_features(client: Client, tmp_path: Path) -> None:
    """What trains an algorithm may take other data."""
    assert client.train_algorithm("scale", {"b": ["x"]}).wait(progress=False).predictions == "trained"


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (None, ""),
        ("raise", "ValueError: raised"),
        ("exit", ""),
        ("crash", "Segmentation fault"),
        ("sleep", ""),
        ("grow", ""),
    ],
)
def test_what_an_algorithm_says_is_kept(client: Client, end: str | None, words: str) -> None:
    """However it ends, and by whatever way it said it; with where it went wrong."""
    task = client.run_algorithm("chatty", {"a": [1]}, parameters={"end": end}).wait(progress=False)
    logs = task.get_logs()
    for way in ("by print", "INFO jobs: by logging", "by a child process", words):
        assert way in logs
    assert logs.count("by print") == 1


def test_of_what_is_said_without_end_the_end_is_kept(client: Client) -> None:
    """64 KiB, from the beginning of a line."""
    task = client.run_algorithm("chatty", {"a": [1]}, parameters={"end": "much"}).wait(progress=False)
    logs = task.get_logs()
    assert len(logs) <= 64 * 1024
    assert logs.startswith("line ")
    assert logs.splitlines()[-1].startswith("line 199999 ")


def test_a_silent_algorithm_has_no_logs(client: Client) -> None:
    """And a task that isn't there is not found."""
    assert run(client, {"a": [1]}).get_logs() == ""
    with pytest.raises(NotFoundError):
        client.get_logs("00000000-0000-0000-0000-000000000000")
