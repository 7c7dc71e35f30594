"""`import callback_sdk.aistore.patch`, with the newest boto3 and with the oldest that is supported."""

from __future__ import annotations

import io
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.endpoint import Endpoint
from botocore.exceptions import ClientError

from callback_sdk import aistore
from callback_sdk.errors import RedirectHostError, TooManyRedirectsError
from callback_sdk.testing import AIStore, ObjectStore, SeaweedFS
from tests.conftest import missing_server

ROOT = Path(__file__).parents[2]
SURFACE = ROOT / "tests" / "checkers" / "surface.py"
OLDEST = Path(sys.prefix) / "oldest"
ORIGINALS = (Endpoint.make_request, Endpoint._needs_retry)


@pytest.fixture(params=["newest", "oldest"])
def path(request: pytest.FixtureRequest) -> str:
    """Give a Python path with a boto3 on it."""
    if request.param == "newest":
        return str(ROOT)
    if not OLDEST.is_dir():
        missing_server("There is no old boto3 beside the newest one; make oldest installs it.")
    return os.pathsep.join([str(OLDEST), str(ROOT)])


@pytest.mark.parametrize("patched", [False, True])
@pytest.mark.parametrize("redirecting", [False, True])
def test_patched_or_not_and_redirecting_or_not(
    seaweedfs: SeaweedFS, path: str, patched: bool, redirecting: bool
) -> None:
    """All of S3 works in each case, but that AIStore needs the patch: for clients made before and after it."""
    with AIStore() as cluster:
        endpoint = cluster.endpoint_url if redirecting else seaweedfs.endpoint_url
        module = "callback_sdk.aistore.patch" if patched else ""
        arguments = [endpoint, f"bucket-{secrets.token_hex(6)}", module, seaweedfs.access_key, seaweedfs.secret_key]
        arguments += ["aistore"] if redirecting else []
        run = subprocess.run(
            [sys.executable, "-W", "error", str(SURFACE), *arguments],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    if redirecting and not patched:
        assert run.returncode == 1
        assert "(TemporaryRedirect)" in run.stderr or "(307)" in run.stderr
    else:
        assert (run.returncode, run.stderr) == (0, "")
        assert run.stdout.startswith("1.36.") is (str(OLDEST) in path)


@pytest.fixture
def patch() -> Iterator[Any]:
    """Patch boto3 in this process for one test."""
    import callback_sdk.aistore.patch as module

    module.patch()
    try:
        yield module
    finally:
        module.unpatch()
        assert (Endpoint.make_request, Endpoint._needs_retry) == ORIGINALS


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    """Run a store that sends prepared responses."""
    with ObjectStore() as store:
        yield store


def client(endpoint: str | None) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key="key",
        config=Config(s3={"addressing_style": "path"}, proxies={}, retries={"total_max_attempts": 1}),
    )


def test_it_can_be_undone(patch: Any, store: ObjectStore) -> None:
    """Once is enough, however often it was done."""
    s3 = client(store.endpoint_url)
    patch.patch()
    store.respond(307, headers={"Location": "/b/elsewhere"}).respond(200, body=b"x")
    assert s3.get_object(Bucket="b", Key="k")["Body"].read() == b"x"
    patch.unpatch()
    patch.unpatch()
    store.respond(307, headers={"Location": "/b/elsewhere"})
    with pytest.raises(ClientError):
        s3.get_object(Bucket="b", Key="k")


def test_a_clients_own_settings_count(patch: Any, store: ObjectStore) -> None:
    """The patch allows three redirects, this client none."""
    s3 = aistore.follow_redirects(client(store.endpoint_url), max_redirects=0)
    store.respond(307, headers={"Location": "/b/elsewhere"})
    with pytest.raises(TooManyRedirectsError, match="more than 0 times"):
        s3.get_object(Bucket="b", Key="k")
    assert len(store.requests) == 1


def test_hosts_outside_the_cluster_are_rejected(patch: Any, store: ObjectStore) -> None:
    """As for clients of `aistore.client`."""
    store.respond(307, headers={"Location": "http://127.0.0.2:9/b/k"})
    with pytest.raises(RedirectHostError):
        client(store.endpoint_url).get_object(Bucket="b", Key="k")


class Raw(io.BytesIO):
    """A body as botocore reads it."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()


def test_clients_of_amazon_stay_as_they_are(patch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Buckets in other regions are botocore's own affair."""
    seen = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        seen.append(request.url)
        return AWSResponse(request.url, 200, {}, Raw(b"<ListAllMyBucketsResult/>"))

    monkeypatch.setattr(patch, "_follower_of", lambda endpoint: pytest.fail("Amazon was taken for AIStore"))
    s3 = client(None)
    s3.meta.events.register("before-send.s3", answer)
    s3.list_buckets()
    assert seen == ["https://s3.amazonaws.com/"]
