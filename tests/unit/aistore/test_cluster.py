"""callback_sdk.aistore.cluster"""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from callback_sdk.aistore import cluster as module
from callback_sdk.aistore.cluster import Answer, Cluster, Trust
from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret, SecretURL

NODE = {"public_net": {"direct_url": "http://10.0.0.2:51081"}, "intra_data_net": {"direct_url": "http://node-2:51083"}}
PROXY = {"public_net": {"direct_url": "http://10.0.0.1:51080"}}
DEFAULT_PORT = {"public_net": {"direct_url": "https://node-4:443"}}
MULTIHOMED = {"public_net": None, "pub_extra": [{"direct_url": "http://10.1.0.3:51081"}, None, {}]}
NODES = {
    "pmap": {"p1": PROXY},
    "tmap": {"t2": NODE, "t3": {"public_net": None}, "t4": MULTIHOMED, "t5": DEFAULT_PORT},
    "version": "7",
}
SMAP = (200, json.dumps(NODES).encode())
HIDDEN = (403, b'{"status": 403, "message": "insufficient permissions"}')
TOKEN: Secret[str] = Secret("one")


class Proxy:
    """Answers requests of the map."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self) -> Answer:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a clock that goes on by a microsecond with each look at it."""
    now = SimpleNamespace(time=1000.0)

    def monotonic() -> float:
        now.time += 1e-6
        return now.time

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=monotonic))
    return now


def trust(cluster: Cluster, url: str, proxy: Proxy, token: Secret[str] | None = TOKEN) -> Trust:
    return cluster.trust(SecretURL(url), token, proxy)


@pytest.mark.parametrize(
    ("url", "known"),
    [
        ("http://aistore:9999/x", True),
        ("http://AIStore/x", True),
        ("http://10.0.0.1:51080/x", True),
        ("http://10.0.0.2:51081/x", True),
        ("http://node-2:51083/x", True),
        ("http://10.1.0.3:51081/x", True),
        ("https://node-4/x", True),
        ("https://node-4:443/x", True),
        ("http://node-4/x", False),
        ("http://10.0.0.2:22/x", False),
        ("http://10.0.0.3:51081/x", False),
        ("http://aistore.evil/x", False),
    ],
)
def test_the_map_names_the_hosts(url: str, known: bool) -> None:
    """The endpoint's own host with any port, and all networks of all nodes with theirs."""
    cluster = Cluster("http://aistore:8080/s3")
    assert trust(cluster, url, Proxy(SMAP)) is (Trust.CREDENTIALS if known else Trust.NOTHING)
    assert cluster.has(SecretURL(url)) is known


def test_named_hosts_replace_the_map() -> None:
    """With a port or for any; the map isn't even asked for."""
    cluster, proxy = (
        Cluster("http://aistore:8080", allow_hosts=["Node-1", "node-2:8081", "[::1]:8082", "::2"]),
        Proxy(SMAP),
    )
    allowed = ["http://node-1:1", "http://node-2:8081", "http://[::1]:8082", "http://[::2]", "http://aistore"]
    assert {trust(cluster, url, proxy) for url in allowed} == {Trust.CREDENTIALS}
    refused = ["http://node-2:1", "http://[::1]:1", "http://10.0.0.2:51081"]
    assert {trust(cluster, url, proxy) for url in refused} == {Trust.NOTHING}
    assert proxy.asked == 0


@pytest.mark.parametrize(
    ("answer", "auto"),
    [
        (HIDDEN, Trust.REQUESTS),
        ((401, b"{}"), Trust.REQUESTS),
        ((0, b""), Trust.REQUESTS),
        ((503, b""), Trust.REQUESTS),
        (SMAP, Trust.NOTHING),
        ((200, b""), Trust.NOTHING),
        ((200, b"[]"), Trust.NOTHING),
        ((200, b'{"tmap": 1}'), Trust.NOTHING),
        ((200, b'{"tmap": {"t": {"public_net": 7}}}'), Trust.NOTHING),
        ((200, b'{"tmap": {"t": {"public_net": {"direct_url": "http://["}}}}'), Trust.NOTHING),
        ((404, b'{"status": 404}'), Trust.NOTHING),
        ((403, b"\n<?xml?><Error><Code>AccessDenied</Code></Error>"), Trust.NOTHING),
    ],
)
def test_unknown_host_is_treated_as_configured(answer: Answer, auto: Trust) -> None:
    """By default it gets requests if the map can't be read, but not if another kind of server answers."""
    url = "http://10.0.0.9:51081"
    assert trust(Cluster("http://aistore"), url, Proxy(answer)) is auto
    assert trust(Cluster("http://aistore", unknown_nodes="follow"), url, Proxy(answer)) is Trust.REQUESTS
    assert trust(Cluster("http://aistore", unknown_nodes="reject"), url, Proxy(answer)) is Trust.NOTHING
    assert trust(Cluster("http://aistore"), "http://aistore:1", Proxy(answer)) is Trust.CREDENTIALS


def test_map_is_read_at_once_for_a_new_node(clock: Any) -> None:
    """However recent the former one is; but not twice in a second for a host that isn't in it."""
    more = {"tmap": {**NODES["tmap"], "t6": {"public_net": {"direct_url": "http://10.0.0.5:51081"}}}}  # type: ignore[dict-item]
    cluster, proxy = Cluster("http://aistore"), Proxy(SMAP, SMAP, (200, json.dumps(more).encode()))
    assert trust(cluster, "http://node-2:51083", proxy) is Trust.CREDENTIALS
    for _ in range(3):
        assert trust(cluster, "http://stranger", proxy) is Trust.NOTHING
    assert proxy.asked == 2
    assert trust(cluster, "http://10.0.0.5:51081", proxy) is Trust.CREDENTIALS
    assert proxy.asked == 3
    clock.time += 2
    assert trust(cluster, "http://stranger", proxy) is Trust.NOTHING
    assert proxy.asked == 4


def test_failed_map_request_is_repeated_at_the_next_request(clock: Any) -> None:
    """And the nodes that were known stay known."""
    cluster, proxy = Cluster("http://aistore"), Proxy(SMAP, (0, b""), (500, b""), (200, b"{"), SMAP)
    assert trust(cluster, "http://node-2:51083", proxy) is Trust.CREDENTIALS
    for expected in (Trust.REQUESTS, Trust.REQUESTS, Trust.NOTHING, Trust.NOTHING):
        assert trust(cluster, "http://stranger", proxy) is expected
        assert trust(cluster, "http://node-2:51083", proxy) is Trust.CREDENTIALS
    assert proxy.asked == 5


def test_map_that_a_role_may_not_see_is_not_asked_for_again_with_its_token(clock: Any) -> None:
    """For a minute; another token is tried at once."""
    cluster, proxy = Cluster("http://aistore"), Proxy(HIDDEN)
    for _ in range(3):
        assert trust(cluster, "http://node-2:51083", proxy) is Trust.REQUESTS
    assert proxy.asked == 1
    assert trust(cluster, "http://node-2:51083", proxy, Secret("two")) is Trust.REQUESTS
    assert proxy.asked == 2
    clock.time += 61
    proxy.answers = [SMAP]
    assert trust(cluster, "http://node-2:51083", proxy, Secret("two")) is Trust.CREDENTIALS


def test_threads_that_wait_for_the_map_share_it() -> None:
    """Many requests that are redirected to a new node cause one or two of the map."""
    cluster, entered, go_on = Cluster("http://aistore"), threading.Event(), threading.Event()
    asked: list[int] = []

    def ask() -> Answer:
        asked.append(1)
        entered.set()
        go_on.wait(120)
        return SMAP

    found: list[Trust] = []
    threads = [
        threading.Thread(target=lambda: found.append(cluster.trust(SecretURL("http://node-2:51083"), TOKEN, ask)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    assert entered.wait(120)
    go_on.set()
    for thread in threads:
        thread.join()
    assert found == [Trust.CREDENTIALS] * 8
    assert len(asked) <= 2


@pytest.mark.parametrize("endpoint", ["", "aistore:8080", "ftp://aistore", "http://", "http://a:port"])
def test_an_endpoint_must_be_a_url(endpoint: str) -> None:
    """The error has an example."""
    with pytest.raises(ConfigurationError, match="http://aistore:8080"):
        Cluster(endpoint)


def test_other_options_are_rejected() -> None:
    """With the valid values."""
    with pytest.raises(ConfigurationError, match="auto, follow, reject"):
        Cluster("http://aistore", unknown_nodes="yes")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"allow_hosts=\["):
        Cluster("http://aistore", allow_hosts="node-1")
