"""`callback-sdk workers`, `pause-algorithm` and `resume-algorithm`, and `Client`: what an operator sees and does."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from callback_sdk import Client, __version__
from callback_sdk.errors import AuthenticationError, CallbackSDKError, NotFoundError
from callback_sdk.testing import WebhookReceiver
from tests.topology import Topology, wait_until


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Run the service."""
    with Topology(tmp_path_factory.mktemp("workers"), "engine_jobs:registry", processes=2) as topology:
        yield topology


def run(topology: Topology, *arguments: str) -> str:
    address = (topology.data / "address").read_text().strip()
    return topology.run(*arguments, "--url", address, "--token-file", str(topology.data / "token"))


def test_workers_are_listed(topology: Topology, client: Client) -> None:
    """With what they take and do."""
    wait_until(client.get_workers, what="the first heartbeat")
    (shown,) = json.loads(run(topology, "workers", "--json"))
    assert (shown["package_version"], shown["running"]) == (__version__, 0)
    assert {"sum", "slow"} <= set(shown["algorithms"])
    assert shown["status"] in ("starting", "idle")
    assert shown["name"] in run(topology, "workers")


def test_an_algorithm_is_paused_and_resumed(topology: Topology, client: Client, webhook: WebhookReceiver) -> None:
    """Its task is queued meanwhile and runs afterwards, others run, and both steps are in the audit log."""
    assert run(topology, "pause-algorithm", "sum", "--reason", "Maintenance.") == "sum is paused; new tasks are queued."
    task = client.run_algorithm("sum", {"a": [1]}, callback_url=webhook.url)
    assert client.run_algorithm("files", {"a": [1]}).wait(progress=False).predictions == 1
    assert client.get_task(task.job_id).status == "Pending"
    (paused,) = client.get_paused_algorithms()
    assert (paused.algorithm, paused.accept, paused.reason, paused.paused_by) == ("sum", True, "Maintenance.", "admin")
    assert json.loads(run(topology, "resume-algorithm", "sum", "--json")) == {"algorithm": "sum", "paused": False}
    assert task.wait(progress=False).predictions == {"a": 1}
    actions = [one.action for one in client.get_audit_log() if one.facts.get("algorithm") == "sum"]
    assert actions == ["algorithm-resumed", "algorithm-paused"]


def test_new_tasks_of_a_paused_algorithm_can_be_rejected(topology: Topology, client: Client) -> None:
    """With the reason."""
    assert "rejected" in run(topology, "pause-algorithm", "sum", "--reject", "--reason", "Its model is wrong.")
    with pytest.raises(CallbackSDKError, match=r"paused and accepts no tasks: Its model is wrong\."):
        client.run_algorithm("sum", {"a": [1]})
    client.resume_algorithm("sum")
    assert client.run_algorithm("sum", {"a": [1]}).wait(progress=False).predictions == {"a": 1}


def test_only_operators_pause(topology: Topology, client: Client) -> None:
    """Other users see which algorithms are paused, and unknown algorithms can't be."""
    token = topology.run("users", "add", "ben")
    with Client(client.url, token=token) as ben:
        for call in (ben.get_workers, lambda: ben.pause_algorithm("sum"), lambda: ben.resume_algorithm("sum")):
            with pytest.raises(AuthenticationError):
                call()
        assert ben.get_paused_algorithms() == []
    with pytest.raises(NotFoundError):
        client.pause_algorithm("unknown")
