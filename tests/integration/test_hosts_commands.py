"""`callback-sdk hosts`, `Client` and the page: what an operator sees of hosts, and does with them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import requests

from callback_sdk import Client
from callback_sdk.errors import InvalidRequestError
from callback_sdk.testing import WebhookReceiver
from tests.topology import Topology, wait_until


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Run the service."""
    with Topology(tmp_path_factory.mktemp("hosts"), "engine_jobs:registry", processes=1) as topology:
        yield topology


def run(topology: Topology, *arguments: str) -> str:
    address = (topology.data / "address").read_text().strip()
    return topology.run("hosts", *arguments, "--url", address, "--token-file", str(topology.data / "token"))


def held(client: Client, job_id: str) -> bool:
    (delivery,) = client.get_deliveries(job_id)
    return delivery.held_since is not None and delivery.next_attempt_at is None


def test_a_host_is_paused_limited_and_resumed(topology: Topology, client: Client) -> None:
    """Its delivery is held meanwhile, and arrives; each step is in the audit log."""
    with WebhookReceiver() as receiver:
        host = receiver.url.removesuffix("/webhook")
        assert run(topology, "pause", host) == f"{host} is paused."
        task = client.run_algorithm("sum", {"a": [1]}, callbacks=[receiver.url])
        wait_until(lambda: held(client, task.job_id), what="the hold")
        (shown,) = [one for one in json.loads(run(topology, "--json"))["hosts"] if one["host"] == host]
        assert (shown["state"], shown["held"], shown["paused_by"]) == ("paused", 1, "admin")
        assert host in run(topology)
        assert not receiver.requests
        assert "is limited" in run(topology, "limit", host, "--rate", "30/min", "--concurrency", "2")
        (limited,) = [one for one in client.get_hosts() if one.host == host]
        assert (limited.max_rate, limited.max_concurrency) == (0.5, 2)
        assert json.loads(run(topology, "resume", host, "--json"))[0]["state"] == "closed"
        wait_until(lambda: client.get_task(task.job_id).receipts, what="the delivery")
        assert "no limits" in run(topology, "limit", host, "--none")
        actions = [one.action for one in client.get_audit_log() if one.facts.get("host") == host]
    assert actions == ["host-limited", "host-resumed", "host-limited", "host-paused"]


def test_a_name_stands_for_the_hosts_that_are_known(client: Client) -> None:
    """Those with https and http if none is; a path needs a URL."""
    assert [one.host for one in client.pause_host("unknown.example.org")] == [
        "https://unknown.example.org",
        "http://unknown.example.org",
    ]
    assert [one.host for one in client.pause_host("unknown.example.org:8081")] == [
        "https://unknown.example.org:8081",
        "http://unknown.example.org:8081",
    ]
    assert [one.host for one in client.pause_host("http://UNKNOWN.example.org:8080")] == [
        "http://unknown.example.org:8080"
    ]
    assert [one.host for one in client.resume_host("unknown.example.org:8080")] == ["http://unknown.example.org:8080"]
    assert [one.host for one in client.resume_host("unknown.example.org")] == [
        "http://unknown.example.org",
        "http://unknown.example.org:8080",
        "http://unknown.example.org:8081",
        "https://unknown.example.org",
        "https://unknown.example.org:8081",
    ]
    for text in ("", "a b", "example.org/path", "ftp://example.org", "https://user:topsecret@example.org"):
        with pytest.raises(InvalidRequestError) as caught:
            client.pause_host(text)
        assert "topsecret" not in str(caught.value)


def test_a_webhook_that_is_gone_is_enabled_again(topology: Topology, client: Client) -> None:
    """By its URL as it is listed, without credentials. Its host stays paused until it is resumed itself."""
    with WebhookReceiver() as receiver:
        receiver.respond(410)
        url = f"{receiver.url}?key=topsecret"
        task = client.run_algorithm("sum", {"a": [1]}, callbacks=[url])
        wait_until(lambda: client.get_deliveries(task.job_id)[0].status == "dead", what="the end of the delivery")
        (gone,) = client.get_disabled_webhooks()
        assert "topsecret" not in gone.url
        assert gone.url in run(topology)
        (paused,) = client.pause_host(receiver.url)
        assert "Its host stays as it is." in run(topology, "resume", gone.url)
        assert client.get_disabled_webhooks() == []
        assert paused.host in [one.host for one in client.get_hosts() if one.state == "paused"]
        assert run(topology, "resume", gone.url) == f"{paused.host} is resumed."
        (delivery,) = client.get_deliveries(task.job_id)
        client.redeliver(task.job_id, delivery.delivery_id)
        wait_until(lambda: client.get_task(task.job_id).receipts, what="the delivery")


def test_the_page_pauses_and_resumes(topology: Topology, client: Client) -> None:
    """Without JavaScript, and only with the form's own token."""
    base = (topology.data / "address").read_text().strip()
    with requests.Session() as browser:
        browser.trust_env = False
        browser.post(f"{base}/ui/login", data={"token": (topology.data / "token").read_text().strip()})
        page = browser.get(f"{base}/ui/hosts").text
        csrf = re.search(r'name="csrf" value="(\w+)"', page)[1]
        assert browser.post(f"{base}/ui/hosts/pause", data={"host": "page.example.org"}).status_code == 403
        shown = browser.post(f"{base}/ui/hosts/pause", data={"host": "page.example.org", "csrf": csrf}).text
        assert "https://page.example.org" in shown
        assert "paused</span> by admin" in shown
        limits = {"host": "page.example.org", "csrf": csrf, "max_rate": "10/s", "max_concurrency": "3"}
        assert 'value="600/min"' in browser.post(f"{base}/ui/hosts/limit", data=limits).text
        assert browser.post(f"{base}/ui/hosts/limit", data={**limits, "max_rate": "fast"}).status_code == 422
        browser.post(f"{base}/ui/hosts/resume", data={"host": "page.example.org", "csrf": csrf})
    (host,) = [one for one in client.get_hosts() if one.host == "https://page.example.org"]
    assert host.state == "closed"
