"""Callback URLs are untrusted: none of them reaches the internal network of the service."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from callback_sdk import Client
from callback_sdk.client import Task
from callback_sdk.errors import InvalidRequestError
from callback_sdk.testing import LocalService, WebhookReceiver
from tests.topology import imported_at_startup, wait_until

DATA = {"a": [1.0, 2.0]}
PATIENCE = timedelta(seconds=60)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Run the service with default options and one allowed host."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        patch.syspath_prepend(str(imported_at_startup("fake_names", tmp_path_factory.mktemp("names") / "site")))
        service = LocalService("guard_jobs:registry", allow_networks=(), allow_hosts=["*.allowed.example.org:*"])
        with service, Client(service.url, token=service.token) as client:
            yield client


def run(client: Client, url: str, *, delivered: bool = True) -> Task:
    task = client.run_algorithm("one", DATA, callbacks=[url])
    grace = PATIENCE if delivered else timedelta(0)
    task.wait(PATIENCE, poll_interval=timedelta(seconds=0.1), delivery_timeout=grace, progress=False)
    wait_until(
        lambda: any(t.finished_at for t in client.get_deliveries(task.job_id)[0].attempts), what="the first attempt"
    )
    return client.get_task(task.job_id)


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


@pytest.mark.parametrize("host", ["inside.example.org", "mixed.example.org", "nowhere.example.invalid"])
def test_a_name_inside_looks_like_one_that_does_not_exist(guarded: Client, host: str) -> None:
    """No connection is made, and the task's owner learns neither its address nor whether there is such a host."""
    with WebhookReceiver() as inside:
        port = inside.url.split(":")[2].split("/")[0]
        task = run(guarded, f"http://{host}:{port}/done", delivered=False)
        assert not inside.requests
    (delivery,) = task.deliveries
    assert task.success
    assert delivery.status == "pending"
    assert delivery.attempt_count >= 1
    assert str(delivery.error).replace(f"{host}:{port}", "HOST") == (
        "http://HOST/done can't be reached: its host name doesn't resolve to a public address. Check the "
        "spelling. The service's log has the reason, and the operator can allow private hosts."
    )


def test_allowed_host_is_delivered_to(guarded: Client) -> None:
    """The operator said so."""
    with WebhookReceiver() as inside:
        port = inside.url.split(":")[2].split("/")[0]
        task = run(guarded, f"http://hook.allowed.example.org:{port}/done")
        assert [delivery.status for delivery in task.deliveries] == ["delivered"]
        assert len(inside.requests) == 1
