"""callback_sdk.aistore.cluster"""

from __future__ import annotations

import json

import pytest

from callback_sdk.aistore import cluster as module
from callback_sdk.aistore.cluster import Cluster
from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import SecretURL

NODE = {"public_net": {"direct_url": "http://10.0.0.2:51081"}, "intra_data_net": {"direct_url": "http://node-2:51083"}}
PROXY = {"public_net": {"direct_url": "http://10.0.0.1:51080"}}
SMAP = json.dumps({"pmap": {"p1": PROXY}, "tmap": {"t2": NODE, "t3": {"public_net": None}}, "version": "7"}).encode()


def has(cluster: Cluster, url: str, answer: bytes | None = SMAP) -> bool:
    return cluster.has(SecretURL(url), lambda where: answer)


@pytest.mark.parametrize(
    ("url", "known"),
    [
        ("http://aistore:9999/x", True),
        ("http://AIStore/x", True),
        ("http://10.0.0.1:51080/x", True),
        ("http://10.0.0.2:51081/x", True),
        ("http://node-2:51083/x", True),
        ("http://10.0.0.2:22/x", False),
        ("http://10.0.0.3:51081/x", False),
        ("http://aistore.evil/x", False),
    ],
)
def test_the_map_names_the_hosts(url: str, known: bool) -> None:
    """The endpoint's own host with any port, and all networks of all nodes with theirs."""
    assert has(Cluster("http://aistore:8080/s3"), url) is known


def test_named_hosts_replace_the_map() -> None:
    """With a port or for any; the map isn't even asked for."""
    cluster = Cluster("http://aistore:8080", allow_hosts=["Node-1", "node-2:8081", "[::1]:8082", "::2"])
    allowed = ["http://node-1:1", "http://node-2:8081", "http://[::1]:8082", "http://[::2]", "http://aistore"]
    assert [has(cluster, url) for url in allowed] == [True] * 5
    refused = ["http://node-2:1", "http://[::1]:1", "http://10.0.0.2:51081"]
    assert [has(cluster, url) for url in refused] == [False] * 3


@pytest.mark.parametrize("answer", [None, b"", b"[]", b'{"tmap": 1}', b'{"tmap": {"t": {"public_net": 7}}}'])
def test_without_a_map_only_the_endpoint_is_known(answer: bytes | None) -> None:
    """Regardless of the invalid response."""
    cluster = Cluster("http://aistore:8080")
    assert not has(cluster, "http://10.0.0.2:51081", answer)
    assert has(cluster, "http://aistore:1", answer)


def test_the_map_is_refreshed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new node is found, and unknown hosts don't cause a request each."""
    cluster, asked = Cluster("http://aistore:8080/s3/"), []

    def fetch(url: str) -> bytes:
        asked.append(url)
        return SMAP if len(asked) > 1 else b"{}"

    for _ in range(3):
        assert not cluster.has(SecretURL("http://node-2:51083"), fetch)
    assert asked == ["http://aistore:8080/v1/cluster?what=smap"]
    monkeypatch.setattr(module, "_MAP_INTERVAL", 0)
    assert cluster.has(SecretURL("http://node-2:51083"), fetch)
    assert cluster.has(SecretURL("http://10.0.0.1:51080"), fetch)
    assert len(asked) == 2


@pytest.mark.parametrize("endpoint", ["", "aistore:8080", "ftp://aistore", "http://", "http://a:port"])
def test_an_endpoint_must_be_a_url(endpoint: str) -> None:
    """The error has an example."""
    with pytest.raises(ConfigurationError, match="http://aistore:8080"):
        Cluster(endpoint)
