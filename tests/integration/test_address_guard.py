"""The service's callbacks come from strangers: none of them leads into the network that the service runs in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from callback_sdk import Client
from callback_sdk.client import Task
from callback_sdk.errors import InvalidRequestError
from callback_sdk.testing import LocalService, WebhookReceiver

DATA = {"a": [1.0, 2.0]}
PATIENCE = timedelta(seconds=60)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Client]:
    """Run the service as it is without any option, but for one host that is allowed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        service = LocalService("guard_jobs:registry", allow_networks=(), allow_hosts=["*.allowed.example.org:*"])
        with service, Client(service.url, token=service.token) as client:
            yield client


def run(client: Client, url: str) -> Task:
    task = client.run_algorithm("one", DATA, callbacks=[url])
    return task.wait(PATIENCE, poll=timedelta(seconds=0.1), grace=PATIENCE, progress=False)


@pytest.mark.parametrize(
    ("host", "option"),
    [
        ("127.0.0.1", "--allow-network 127.0.0.0/8:9000"),
        ("2130706433", "--allow-network 127.0.0.0/8"),
        ("localhost", "--allow-host localhost:9000"),
        ("169.254.169.254", "--allow-network 169.254.169.254:9000"),
        ("[fd00:ec2::254]", "--allow-network [fd00:ec2::254]:9000"),
        ("[::ffff:10.0.0.1]", "--allow-network"),
        ("127。0。0。1", "--allow-network 127.0.0.0/8"),
    ],
)
def test_address_in_the_url_is_refused_at_submit(guarded: Client, host: str, option: str) -> None:
    """Before anything computes, with the option that would allow it."""
    with pytest.raises(InvalidRequestError) as caught:
        guarded.run_algorithm("one", DATA, callbacks=[f"http://{host}:9000/done"])
    assert caught.value.status == 422
    assert option in str(caught.value)


@pytest.mark.parametrize("host", ["inside.example.org", "mixed.example.org"])
def test_name_of_an_address_inside_is_refused_at_sending(guarded: Client, host: str) -> None:
    """For good, without a connection, and without telling the task's owner which address it is."""
    with WebhookReceiver() as inside:
        port = inside.url.split(":")[2].split("/")[0]
        task = run(guarded, f"http://{host}:{port}/done")
        assert not inside.requests
    (delivery,) = task.deliveries
    assert task.success
    assert delivery.state == "dead"
    assert delivery.attempts == 1
    assert "not public" in str(delivery.error)
    assert f"--allow-host {host}" in str(delivery.error)
    assert "127.0.0.1" not in str(delivery.error)


def test_allowed_host_is_delivered_to(guarded: Client) -> None:
    """The operator said so."""
    with WebhookReceiver() as inside:
        port = inside.url.split(":")[2].split("/")[0]
        task = run(guarded, f"http://hook.allowed.example.org:{port}/done")
        assert [delivery.state for delivery in task.deliveries] == ["delivered"]
        assert len(inside.requests) == 1
