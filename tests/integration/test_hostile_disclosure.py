"""Attempts to make a service disclose data, or reach internal hosts. None succeeds."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import requests

from callback_sdk import Client
from callback_sdk.client import Task
from callback_sdk.errors import InvalidRequestError
from callback_sdk.service.store.cipher import new_key
from callback_sdk.testing import WebhookReceiver
from tests.integration.disclosure_jobs import HOSTILE
from tests.rawserver import RawServer, answer, read_request
from tests.signedurls import v4
from tests.topology import Topology, wait_until

MARKER = "MARKER4f7a"
PATIENCE = timedelta(seconds=60)
SECRETS = {"AWS_SECRET_ACCESS_KEY": f"{MARKER}-aws", "PGPASSWORD": f"{MARKER}-pg", "UNKNOWN": f"{MARKER}-unknown"}
WEBHOOK_SECRET = "whsec_TUFSS0VSNGY3YU1BUktFUjRmN2FNQVJLRVI0Zjdh"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a process has is read from /proc")


@pytest.fixture(scope="module")
def inside() -> Iterator[RawServer]:
    """Run a server in the service's network with one permitted port, which quotes requests in its responses."""

    def script(connection: socket.socket, number: int) -> None:
        head, _ = read_request(connection)
        said = f"{head.split()[1].decode()} {HOSTILE} {MARKER}"
        body = f"<Error><Code>AccessDenied</Code><Message>{said}</Message></Error>".encode()
        connection.sendall(answer("410 Gone", body=body))

    with RawServer(script) as server:
        yield server


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, inside: RawServer) -> Iterator[Topology]:
    """Run a service that has credentials of every kind in its environment."""
    settings = {
        "ALLOW_NETWORKS": f"127.0.0.0/8:{inside.port}",
        "ENCRYPTION_KEYS": new_key().reveal(),
        "WEBHOOK_SECRETS": WEBHOOK_SECRET,
    }
    folder = tmp_path_factory.mktemp("disclosure")
    with Topology(folder, "disclosure_jobs:registry", processes=1, settings=settings, environment=SECRETS) as topology:
        yield topology


@pytest.fixture(scope="module")
def client(running: Topology) -> Iterator[Client]:
    """Give the first user's client."""
    with running.client() as client:
        yield client


def ended(task: Task) -> Task:
    return task.wait(PATIENCE, poll_interval=timedelta(seconds=0.05), progress=False)


def printed(running: Topology, *arguments: str) -> str:
    """Return the output of a command on both streams."""
    address = (running.data / "address").read_text().strip()
    credentials = {"CALLBACK_SDK_URL": address, "CALLBACK_SDK_TOKEN": (running.data / "token").read_text().strip()}
    command = [sys.executable, "-m", "callback_sdk.cli", *arguments]
    environment = running.environment | credentials
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)
    return done.stdout.decode() + done.stderr.decode()


def is_safe(text: str) -> bool:
    return not any(character in text for character in "\x1b\x07\x9b\r\x85\u202e\u2028") and "\n2026-01-01" not in text


def test_a_callback_reaches_no_other_port_of_an_allowed_host(client: Client, inside: RawServer) -> None:
    """Neither by the host's number nor by a name, however the port is written."""
    with WebhookReceiver() as administration:
        port = administration.url.split(":")[2].split("/")[0]
        for host in ("127.0.0.1", "127.1", "localhost", "[::ffff:127.0.0.1]"):
            for written in (port, f"0{port}"):
                with pytest.raises(InvalidRequestError) as caught:
                    client.run_algorithm("curious", {"a": [1]}, callbacks=[f"http://{host}:{written}/delete"])
                assert caught.value.status == 422
        assert not administration.requests


def test_an_algorithm_finds_no_credential(client: Client, running: Topology) -> None:
    """Not in its environment, nor in the block that its process was started with."""
    task = ended(client.run_algorithm("curious", {"a": [1]}))
    keys = running.environment["CALLBACK_SDK_ENCRYPTION_KEYS"]
    # The only variable with the package's name is no setting: by it the processes of a killed service are found.
    found = str(task.predictions).replace("_CALLBACK_SDK_SERVICE", "")
    for secret in (MARKER, keys, WEBHOOK_SECRET, "CALLBACK_SDK_"):
        assert secret not in found
    assert task.predictions["environment"]["PATH"] == running.environment["PATH"]


def test_a_credential_in_a_path_or_a_parameter_is_shown_and_kept_nowhere(
    client: Client, running: Topology, inside: RawServer
) -> None:
    """Neither in an answer, a listing and the log, nor in the database, although the server quotes it."""
    callback = (f"{inside.url}/bot1234:{MARKER}/send", {"note": f"{MARKER}-note"})
    task = ended(client.run_algorithm("curious", {"a": [1]}, callbacks=[callback]))
    job_id = task.job_id
    wait_until(lambda: client.get_deliveries(job_id)[0].status == "dead", what="the refusal")
    shown = printed(running, "deliveries", job_id) + printed(running, "tasks", job_id)
    shown += printed(running, "deliveries", job_id, "--json")
    shown += str([delivery.url + str(delivery.error) for delivery in client.get_deliveries(job_id)])
    assert "/bot1234:***/send" in shown
    assert MARKER not in shown + running.log
    assert client.get_task(job_id).callback_param == {"note": f"{MARKER}-note"}
    assert not any(MARKER.encode() in path.read_bytes() for path in running.data.glob("store.sqlite3*"))


def test_text_of_an_algorithm_is_escaped_on_terminals_and_in_logs(client: Client, running: Topology) -> None:
    """Its output, progress and error are escaped, and forge no log records."""
    task = ended(client.run_algorithm("hostile", {"a": [1]}))
    assert not task.success
    shown = printed(running, "tasks", task.job_id) + printed(running, "tasks", task.job_id, "--logs")
    shown += printed(running, "tasks") + printed(running, "tasks", task.job_id, "--json")
    assert "owned" in shown
    assert not any(character in shown for character in "\x1b\x07\x9b\r\x85\u202e\u2028")
    assert "owned" in running.log
    assert is_safe(running.log)


def test_output_after_a_run_forges_no_log_records(client: Client, running: Topology) -> None:
    """The output is logged escaped, and the child process has no descriptor of the service's log."""
    task = ended(client.run_algorithm("late", {"a": [1]}))
    assert task.success
    log = str(running._log)
    assert task.predictions
    assert log not in task.predictions
    wait_until(lambda: "late end" in running.log, what="the last line of the thread that was left")
    assert "printed outside a run: late" in running.log
    assert is_safe(running.log)


@pytest.mark.parametrize("name", ["Cookie", "Proxy-Authorization", "X-HTTP-Method-Override", "Connection"])
def test_headers_that_change_the_request_are_rejected(running: Topology, name: str) -> None:
    """At submission, by any client."""
    query = v4(date="20990101T110000Z", region="eu-west-1", signed=f"host;{name.lower()}")
    url = f"https://b.s3.eu-west-1.amazonaws.com/k?{query}"
    response = requests.post(
        (running.data / "address").read_text().strip() + "/api/v2/algorithms/curious/predict",
        headers={"Authorization": f"Bearer {(running.data / 'token').read_text().strip()}"},
        data={"callbacks": json.dumps([{"url": url, "param": {"s3_headers": {name: "DELETE"}}}])},
        files={"features": ("f", b'{"a": [1]}')},
        timeout=60,
    )
    assert response.status_code == 422
    assert name.lower() in response.text


def test_all_files_are_the_owners_alone(running: Topology) -> None:
    """Also after all of this."""
    found: list[Path] = list(running.data.rglob("*"))
    assert found
    assert [path for path in found if path.stat().st_mode & 0o077 and path.exists()] == []
