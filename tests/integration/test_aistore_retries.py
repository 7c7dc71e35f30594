"""Retries against AIStore: what counts as a failed attempt, and nodes that die."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.endpoint
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

from callback_sdk import JobResult, ResultsWriter, S3Signer, aistore
from callback_sdk.aistore import patch, requests
from callback_sdk.testing import AIStore

# Its import patches botocore for all tests of this process.
patch.unpatch()

KEYS = [f"k{number}" for number in range(12)]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[AIStore]:
    """Run a cluster that has the bucket `b`; botocore doesn't pause between attempts."""
    monkeypatch.setattr(botocore.endpoint, "time", SimpleNamespace(sleep=lambda seconds: None))
    with AIStore() as cluster:
        aistore.client(cluster.endpoint_url).create_bucket(Bucket="b")
        yield cluster


def plain(cluster: AIStore, **retries: Any) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=cluster.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key="key",
        config=Config(s3={"addressing_style": "path"}, proxies={}, retries=retries),
    )


MAKERS: dict[str, Callable[..., Any]] = {
    "client": lambda cluster, **retries: aistore.client(cluster.endpoint_url, config=Config(retries=retries)),
    "follow_redirects": lambda cluster, **retries: aistore.follow_redirects(plain(cluster, **retries)),
    "patch": plain,
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Give a function that makes a client which follows redirects."""
    if request.param == "patch":
        patch.patch()
    yield MAKERS[request.param]
    patch.unpatch()


def fail(cluster: AIStore, times: int) -> None:
    """Let the next requests be redirected, and fail at the node."""
    for _ in range(times):
        cluster.respond(307, headers={"Location": f"{cluster.node_urls[0]}/s3/b/k?ais_pid=p0"})
        cluster.respond(500)


@pytest.mark.parametrize("mode", ["legacy", "standard"])
def test_redirects_are_not_failed_attempts(cluster: AIStore, make: Callable[..., Any], mode: str) -> None:
    """With three attempts, two may fail at a node, and not three."""
    s3 = make(cluster, mode=mode, total_max_attempts=3)
    fail(cluster, 2)
    s3.put_object(Bucket="b", Key="k", Body=b"x")
    assert cluster.objects == {"b/k": b"x"}
    fail(cluster, 3)
    with pytest.raises(ClientError, match="500"):
        s3.put_object(Bucket="b", Key="k", Body=b"y")
    assert cluster.objects == {"b/k": b"x"}


def test_killed_node_causes_no_error(cluster: AIStore, make: Callable[..., Any]) -> None:
    """The client asks the proxy again until it redirects to another node, also without attempts of botocore."""
    s3 = make(cluster, total_max_attempts=1)
    for body in (b"before", b"after"):
        for key in KEYS:
            s3.put_object(Bucket="b", Key=key, Body=body)
        if body == b"before":
            cluster.kill_node(cluster.node_urls[0], noticed_after=3)
    assert cluster.objects == {f"b/{key}": b"after" for key in KEYS}
    assert len(cluster.node_urls) == 2


def test_node_that_stays_unreachable_is_an_error(cluster: AIStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the node, after a limited time."""
    monkeypatch.setattr(requests, "_NODE_DOWN", 0.0)
    monkeypatch.setattr(requests, "_PAUSE", 0.01)
    s3 = aistore.client(cluster.endpoint_url, config=Config(retries={"total_max_attempts": 1}))
    for node in cluster.node_urls:
        cluster.kill_node(node, noticed_after=100)
    with pytest.raises(EndpointConnectionError, match="/s3/b/k"):
        s3.put_object(Bucket="b", Key="k", Body=b"x")


def test_writer_goes_back_to_the_proxy(cluster: AIStore) -> None:
    """A retry of a delivery begins at the URL that was signed."""
    signer = S3Signer("b", client=plain(cluster))
    cluster.kill_node(cluster.node_urls[0], noticed_after=1)
    with ResultsWriter(storage_endpoints=[cluster.endpoint_url]) as writer:
        receipts = [writer.write(JobResult(job_id=key, success=True), signer.presign_put(key))[0] for key in KEYS]
    assert [receipt.attempts for receipt in receipts].count(2) == 1
    assert sorted(cluster.objects) == sorted(f"b/{key}" for key in KEYS)
