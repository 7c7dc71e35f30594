"""Features of the registry, as seen by clients of the service."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests
from PIL import Image

from callback_sdk import Client
from callback_sdk.errors import InvalidRequestError, NotFoundError
from callback_sdk.testing import WebhookReceiver
from tests.topology import Topology


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Run a service with such algorithms."""
    with Topology(tmp_path_factory.mktemp("authored"), "authored_jobs:registry") as topology:
        yield topology


def run(client: Client, features: Any, **options: Any) -> Any:
    return client.run_algorithm("scale", features, **options).wait(progress=False)


def test_evaluations_and_monitors_are_part_of_the_results(client: Client) -> None:
    """In the task and in the delivered document; a failing one affects nothing else."""
    with WebhookReceiver() as webhook:
        task = run(client, {"a": [1, 2]}, callbacks=[webhook.url])
        (request,) = webhook.wait_for(1)
    assert task.predictions == [2, 4]
    assert task.evaluations["total"] == 6
    assert "IndexError" in task.evaluations["broken"]["error"]
    assert task.monitors == {"largest": 4}
    results = request.document["results"]
    assert (results["evaluations"], results["monitors"]) == (task.evaluations, task.monitors)


def test_a_webhook_of_a_large_result_gets_the_url_of_the_task(client: Client, topology: Topology) -> None:
    """At the address of the service, where the results are."""
    with WebhookReceiver() as webhook:
        run(client, {"a": list(range(60_000))}, callbacks=[webhook.url])
        (request,) = webhook.wait_for(1)
    assert "results" not in request.document
    token = (topology.data / "token").read_text().strip()
    found = requests.get(request.document["task_url"], headers={"Authorization": f"Bearer {token}"}, timeout=30).json()
    assert (found["job_id"], len(found["predictions"])) == (request.document["job_id"], 60_000)


def test_evaluations_run_only_on_request(client: Client) -> None:
    """All, some or none run, and unknown names are rejected before anything is computed."""
    assert run(client, {"a": [1]}, evaluate={"total": {}}).evaluations == {"total": 2}
    task = run(client, {"a": [1]}, evaluate=False, monitor=False)
    assert (task.evaluations, task.monitors) == (None, None)
    with pytest.raises(InvalidRequestError, match=r"no evaluation 'totl'.*It has total, broken"):
        client.run_algorithm("scale", {"a": [1]}, evaluate={"totl": {}})


@pytest.mark.parametrize(
    ("features", "parameters", "words"),
    [
        ({"b": [1]}, None, "Column 'a' is missing."),
        ({"a": [1, None]}, None, "Row 1, column 'a'"),
        ({"a": [1]}, {"factor": "two"}, "factor: 'two' is not of type 'number'"),
        ({"a": [1]}, {"facter": 2}, "'facter' was unexpected"),
    ],
)
def test_features_that_violate_the_schema_are_rejected_at_submission(
    client: Client, features: Any, parameters: Any, words: str
) -> None:
    """The error names column and row, within a batch too."""
    with pytest.raises(InvalidRequestError, match=words):
        client.run_algorithm("scale", features, parameters=parameters)
    with pytest.raises(InvalidRequestError, match=rf"tasks\[0\].*{words}"):
        client.run_algorithm_batch("scale", [features], parameters=parameters, progress=False)


def test_an_algorithm_may_take_only_parameters(client: Client, topology: Topology) -> None:
    """Its tasks have no features. One that reads them fails with a message, at submission if it has a schema."""
    task = client.run_algorithm("counted", parameters={"start": 3}).wait(progress=False)
    assert task.predictions == [3, 4]
    with pytest.raises(InvalidRequestError, match="The task has no features, and the algorithm reads them"):
        client.run_algorithm("scale", None)
    # Nor is a field of that name taken for no features.
    token = (topology.data / "token").read_text().strip()
    path = f"{client.url}/algorithms/counted/predict"
    fields = {"features": (None, "[]"), "parameters": ("p.json", '{"start": 3}')}
    answer = requests.post(path, files=fields, headers={"Authorization": f"Bearer {token}"}, timeout=30)
    assert (answer.status_code, "one file 'features'" in answer.text) == (422, True)


def test_large_features_are_validated_by_the_run(client: Client) -> None:
    """The task fails with the same message; large features aren't read twice."""
    table = pd.DataFrame({"a": [*map(float, range(50_000)), None]})
    task = run(client, table.astype(object).where(table.notna(), None))
    assert task.success is False
    assert "Row 50000, column 'a'" in task.error


def test_templates_and_graphs_are_generated(client: Client) -> None:
    """From the declared schemas; templates can be submitted unchanged."""
    assert json.load(client.get_template("scale")) == {"a": [1.0, 2.0, 3.0]}
    parameters = json.load(client.get_template("scale", "parameters"))
    assert run(client, json.load(client.get_template("scale")), parameters=parameters).predictions == [2, 4, 6]
    assert Image.open(io.BytesIO(client.get_graph("scale").read())).format == "PNG"
    algorithm = client.get_algorithm("scale")
    assert algorithm.evaluations == ("total", "broken")


def test_the_schema_does_not_apply_to_trainings(client: Client, tmp_path: Path) -> None:
    """A training may use other data."""
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
def test_output_of_an_algorithm_is_stored(client: Client, end: str | None, words: str) -> None:
    """Prints, logs and output of child processes are stored for every outcome, with the traceback of an error."""
    name = "chatty-for-a-while" if end == "sleep" else "chatty"
    task = client.run_algorithm(name, {"a": [1]}, parameters={"end": end}).wait(progress=False)
    logs = task.get_logs()
    for way in ("by print", "INFO jobs: by logging", "by a child process", "by a C library", words):
        assert way in logs
    assert logs.count("by print") == 1


def test_the_end_of_long_output_is_stored(client: Client) -> None:
    """The last 64 KiB are stored, from the start of a line, after a note."""
    task = client.run_algorithm("chatty", {"a": [1]}, parameters={"end": "much"}).wait(progress=False)
    logs = task.get_logs()
    note, _, rest = logs.partition("\n")
    assert "bytes of earlier output were dropped" in note
    assert len(rest) <= 64 * 1024
    assert rest.startswith("line ")
    assert logs.splitlines()[-1].startswith("line 199999 ")


def test_a_silent_algorithm_has_no_logs(client: Client) -> None:
    """And a task that isn't there is not found."""
    assert run(client, {"a": [1]}).get_logs() == ""
    with pytest.raises(NotFoundError):
        client.get_logs("00000000-0000-0000-0000-000000000000")


def train(client: Client, values: list[int], **options: Any) -> Any:
    return client.train_algorithm("learner", {"a": values}, **options).wait(progress=False)


def guess(client: Client, version: str | None = None) -> Any:
    return client.run_algorithm("learner", {"a": [1]}, version=version).wait(progress=False).predictions


def test_a_training_creates_a_version(client: Client) -> None:
    """It can be run and trained further by its name; the registered version stays the default."""
    first = train(client, [1, 2], export_new_version=True)
    assert first.predictions == "learnt"
    assert first.new_version.startswith("1.0.0-")
    assert guess(client, first.new_version) == "3"
    assert guess(client) == "nothing"
    second = train(client, [4], version=first.new_version, export_new_version=True)
    assert guess(client, second.new_version) == "3+4"
    assert guess(client, first.new_version) == "3"
    versions = [one.version for one in client.get_algorithm("learner").versions]
    assert versions == ["1.0.0", *versions[1:-2], first.new_version, second.new_version]
    assert first.job_id in client.get_algorithm_version("learner", first.new_version).change_description


def test_a_failed_training_creates_no_version(client: Client) -> None:
    """Nor does a training without `export_new_version`."""
    assert train(client, [1]).new_version is None
    failed = train(client, [1], export_new_version=True, parameters={"fail": True})
    assert (failed.success, failed.new_version) == (False, None)


def test_a_version_is_its_makers_own(client: Client, topology: Topology) -> None:
    """Others neither see nor run it."""
    version = train(client, [7], export_new_version=True).new_version
    token = topology.run("users", "add", "bert")
    with Client(client.url, token=token) as other:
        assert [one.version for one in other.get_algorithm_versions("learner")] == ["1.0.0"]
        with pytest.raises(NotFoundError):
            other.run_algorithm("learner", {"a": [1]}, version=version)
        with pytest.raises(NotFoundError):
            other.get_algorithm_version("learner", version)


def test_a_version_outlives_the_service(tmp_path: Path) -> None:
    """Its model is among the blobs, and its name in the database."""
    topology = Topology(tmp_path, "authored_jobs:registry")
    with topology, topology.client() as client:
        version = train(client, [5], export_new_version=True).new_version
    with topology, topology.client() as client:
        assert guess(client, version) == "5"
