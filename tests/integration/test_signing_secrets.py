"""Signing secrets of users and of webhooks, from the REST API to the receiver."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from callback_sdk import Client, JobResult, Outbox, ResultsWriter, webhooks
from callback_sdk.errors import WebhookVerificationError
from callback_sdk.testing import WebhookReceiver
from callback_sdk.testing.received import ReceivedRequest
from tests.rawserver import RawServer, answer, read_request
from tests.topology import Topology, wait_until


class API:
    """The REST API for one user."""

    def __init__(self, topology: Topology, token: str) -> None:
        self._address = (topology.data / "address").read_text().strip()
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {token}"
        self.client = Client(self._address, token=token)

    def call(self, method: str, path: str = "", status: int = 200, **body: Any) -> Any:
        url = f"{self._address}/api/v2/signing-secrets{path}"
        answer = self._session.request(method, url, json=body if method == "POST" else None, timeout=60)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def delivered(self, receiver: WebhookReceiver, param: Any = None) -> ReceivedRequest:
        """Run a task, and return its webhook."""
        before = len(receiver.requests)
        task = self.client.run_algorithm("talks", {"a": [1]}, callbacks=[(receiver.url, param or {})])
        task.wait(timeout=60, progress=False)
        wait_until(lambda: len(receiver.requests) > before)
        return receiver.requests[-1]


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Run a service with the shared secret of earlier versions."""
    settings = {"WEBHOOK_SECRETS": SHARED}
    with Topology(
        tmp_path_factory.mktemp("secrets"), "proxy_jobs:registry", processes=1, settings=settings
    ) as topology:
        yield topology


SHARED = webhooks.generate_secret()


@pytest.fixture
def anna(topology: Topology, request: pytest.FixtureRequest) -> API:
    """Add a user."""
    return API(topology, topology.run("users", "add", f"anna {request.node.name}"[:100]).split()[-1])


@pytest.fixture
def bert(topology: Topology, request: pytest.FixtureRequest) -> API:
    """Add another user."""
    return API(topology, topology.run("users", "add", f"bert {request.node.name}"[:100]).split()[-1])


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    """Receive webhooks without verifying them."""
    with WebhookReceiver() as receiver:
        yield receiver


def verifies(secret: str, request: ReceivedRequest) -> bool:
    try:
        return bool(webhooks.verify(secret, request.headers, request.body))
    except WebhookVerificationError:
        return False


def test_receivers_of_one_user_cant_forge_webhooks_to_those_of_another(
    anna: API, bert: API, receiver: WebhookReceiver, topology: Topology
) -> None:
    """Each user's webhooks are signed with that user's secret only, and never with one that all share."""
    secrets = [user.call("POST", status=201)["secret"] for user in (anna, bert)]
    for user, own, other in ((anna, *secrets), (bert, *secrets[::-1])):
        request = user.delivered(receiver)
        assert [verifies(secret, request) for secret in (own, other, SHARED)] == [True, False, False]
    assert "Webhooks of tasks are unsigned" in topology.log


def test_webhooks_of_a_user_without_a_secret_are_unsigned(bert: API, receiver: WebhookReceiver) -> None:
    """Id, time and digest are there all the same."""
    request = bert.delivered(receiver)
    assert "webhook-signature" not in request.headers
    assert request.headers["webhook-id"]


def test_secret_rotates_with_an_overlap(anna: API, receiver: WebhookReceiver) -> None:
    """Both signatures are sent meanwhile; a revoked secret signs nothing."""
    old = anna.call("POST", status=201)
    new = anna.call("POST", status=201, overlap=3600)
    pair = anna.call("POST", status=201, scheme="v1a")
    assert pair["secret"] is None
    request = anna.delivered(receiver)
    assert len(request.headers["webhook-signature"].split()) == 3
    assert all(verifies(one, request) for one in (old["secret"], new["secret"], pair["public_key"]))
    anna.call("DELETE", f"/{old['id']}", status=204)
    anna.call("DELETE", f"/{old['id']}", status=404)
    request = anna.delivered(receiver)
    assert [verifies(one, request) for one in (old["secret"], new["secret"])] == [False, True]
    listed = json.dumps(anna.call("GET"))
    assert [one["id"] for one in json.loads(listed)["secrets"]] == [pair["id"], new["id"]]
    assert new["secret"] not in listed
    anna.call("POST", status=201, overlap=0)
    assert not verifies(new["secret"], anna.delivered(receiver))


def test_secrets_of_other_users_are_out_of_reach(anna: API, bert: API) -> None:
    """They don't exist for them."""
    created = anna.call("POST", status=201)
    assert bert.call("GET")["secrets"] == []
    bert.call("DELETE", f"/{created['id']}", status=404)
    assert len(anna.call("GET")["secrets"]) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"scheme": "v2"}, 422),
        ({"secret": "short"}, 422),
        ({"secret": "whsec_" + "A" * 300}, 422),
        ({"overlap": -1}, 422),
        ({"overlap": 1e9}, 422),
        ({"overlap": "x"}, 422),
    ],
)
def test_invalid_requests_are_rejected(anna: API, body: dict[str, Any], status: int) -> None:
    """Without quoting the secret."""
    answer = anna.call("POST", status=status, **body)
    assert str(body.get("secret", "nothing of it")) not in json.dumps(answer)
    assert anna.call("GET")["secrets"] == []


def test_too_many_secrets_are_a_conflict(anna: API) -> None:
    """One has to be revoked first."""
    for _ in range(6):
        anna.call("POST", status=201)
    assert "Revoke one" in anna.call("POST", status=409)["error"]


def test_outbox_keeps_secret_and_headers_until_the_webhook_is_delivered(tmp_path: Path) -> None:
    """A later process signs with the same secret, and not with its own; then neither is in the file any more."""
    secret, others = webhooks.generate_secret("v1a"), webhooks.generate_secret()
    param = {"webhook": {"secret": secret, "headers": {"Authorization": "Bearer topsecret7f3a"}}}
    path, received = tmp_path / "outbox.sqlite3", list[tuple[bytes, bytes]]()

    def script(connection: socket.socket, number: int) -> None:
        while (request := read_request(connection))[0]:
            received.append(request)
            connection.sendall(answer("503 Service Unavailable" if len(received) == 1 else "200 OK"))

    with RawServer(script) as receiver:
        with Outbox(path) as outbox:
            written = outbox.write(JobResult(job_id="42", success=True), f"{receiver.url}/done", param)
            assert (len(written.receipts), len(written.pending)) == (0, 1)
        with ResultsWriter(webhook_secrets=[others]) as writer, Outbox(path, writer=writer) as outbox:
            outbox.redeliver()
            outbox.run(until_empty=True)
    for head, body in received:
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
        assert headers["authorization"] == "Bearer topsecret7f3a"
        assert webhooks.verify(webhooks.public_key(secret), headers, body)
        with pytest.raises(WebhookVerificationError):
            webhooks.verify(others, headers, body)
    assert len(received) == 2
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and b"topsecret7f3a" in file.read_bytes()]


def test_webhook_has_a_secret_and_headers_of_its_own(anna: API, receiver: WebhookReceiver, topology: Topology) -> None:
    """They are in the request, and nowhere else."""
    users = anna.call("POST", status=201)["secret"]
    secret = webhooks.generate_secret()
    param = {"run": 7, "webhook": {"secret": secret, "headers": {"Authorization": "Bearer topsecret7f3a"}}}
    request = anna.delivered(receiver, param)
    assert request.headers["authorization"] == "Bearer topsecret7f3a"
    assert [verifies(one, request) for one in (secret, users)] == [True, False]
    assert json.loads(request.body)["callback_param"] == {"run": 7}
    task = next(iter(anna.client.get_tasks()))
    shown = json.dumps(anna.client.get_task(task.job_id).callback_param) + topology.log
    stored = b"".join(path.read_bytes() for path in topology.data.rglob("*") if path.is_file())
    for text in ("topsecret7f3a", secret.removeprefix("whsec_")):
        assert text not in shown
        assert text.encode() not in stored
