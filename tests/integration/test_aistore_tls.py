"""AIStore with TLS: own authorities, client certificates and the opt-out, for clients, patch, map and log-in."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, SSLError

from callback_sdk import aistore
from callback_sdk.aistore import patch
from callback_sdk.errors import AIStoreLoginError, RedirectHostError
from callback_sdk.testing import AIStore
from tests.checkers.surface import exercise
from tests.tlsserver import Authority

# Its import patches botocore for all tests of this process.
patch.unpatch()

USERS = {"anna": "a password"}
NODES = ("127.0.0.2", "127.0.0.3")
ADDRESSES = ("127.0.0.1", *NODES)
VARIABLES = ("AIS_ENDPOINT", "AIS_CLIENT_CA", "AIS_CRT", "AIS_CRT_KEY", "AIS_SKIP_VERIFY_CRT", "AIS_SKIP_VERIFY")


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Give an authority that is not trusted by default, and an environment without AIStore's variables."""
    for name in (*VARIABLES, "AIS_AUTHN_TOKEN", "AIS_AUTHN_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    return Authority(tmp_path)


def cluster_of(authority: Authority, *, mutual: bool = False, **options: Any) -> AIStore:
    return AIStore(
        users=USERS,
        roles={"anna": "Admin"},
        addresses=NODES,
        tls=authority.context(*ADDRESSES, clients=mutual),
        **options,
    )


def plain(endpoint: str, **options: Any) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key="key",
        config=Config(s3={"addressing_style": "path"}, proxies={}, retries={"total_max_attempts": 1}),
        **options,
    )


def of_client(cluster: AIStore) -> Any:
    token = aistore.Token("anna", USERS["anna"], cluster.authn_url)
    return aistore.client(cluster.endpoint_url, token=token, config=Config(retries={"total_max_attempts": 1}))


def of_patch(cluster: AIStore) -> Any:
    patch.patch(cluster.endpoint_url, token=aistore.Token("anna", USERS["anna"], cluster.authn_url))
    return plain(cluster.endpoint_url)


@pytest.fixture(params=[of_client, of_patch])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[AIStore], Any]]:
    """Give a function that makes a client with what the environment says, which logs in."""
    yield request.param
    patch.unpatch()


def assert_everything_was_asked_for(cluster: AIStore) -> None:
    """Check that there were log-in, map and requests at nodes, all answered."""
    paths = [request.path for request in cluster.requests]
    assert "/v1/users/anna" in paths
    assert "/v1/cluster?what=smap" in paths
    assert any("ais_pid" in path for path in paths)
    assert {request.status for request in cluster.requests} <= {200, 204, 206, 307, 404}


@pytest.mark.parametrize("mutual", [False, True])
def test_certificates_of_the_environment(
    authority: Authority, make: Any, mutual: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """AIStore's variables are enough for all requests, also where clients need a certificate."""
    monkeypatch.setenv("AIS_CLIENT_CA", str(authority.file))
    if mutual:
        for name, file in zip(("AIS_CRT", "AIS_CRT_KEY"), authority.client_cert(tmp_path), strict=True):
            monkeypatch.setenv(name, str(file))
    with cluster_of(authority, mutual=mutual) as cluster:
        assert cluster.endpoint_url.startswith("https://")
        exercise(make(cluster), "bucket", aistore=True)
        assert_everything_was_asked_for(cluster)


def test_certificates_as_arguments(authority: Authority, tmp_path: Path) -> None:
    """For client and log-in, and for the patch."""
    files = {"verify": authority.file, "client_cert": authority.client_cert(tmp_path)}
    with cluster_of(authority, mutual=True) as cluster:
        token = aistore.Token("anna", USERS["anna"], cluster.authn_url, **files)
        exercise(aistore.client(cluster.endpoint_url, token=token, **files), "bucket", aistore=True)
        assert_everything_was_asked_for(cluster)
        try:
            patch.patch(cluster.endpoint_url, token=token, **files)
            exercise(plain(cluster.endpoint_url), "bucket", aistore=True)
        finally:
            patch.unpatch()


def test_unknown_authority_is_rejected(authority: Authority, make: Any, tmp_path: Path) -> None:
    """By the log-in, which comes first, and by requests to the cluster."""
    with cluster_of(authority) as cluster:
        with pytest.raises(AIStoreLoginError, match="SSLError"):
            make(cluster).list_buckets()
        patch.unpatch()
        with pytest.raises(SSLError):
            aistore.client(cluster.endpoint_url, token="token").list_buckets()
        assert cluster.requests == ()


def test_client_without_a_certificate_is_rejected(
    authority: Authority, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster wants one."""
    monkeypatch.setenv("AIS_CLIENT_CA", str(authority.file))
    with cluster_of(authority, mutual=True) as cluster:
        with pytest.raises(AIStoreLoginError, match="did not respond"):
            make(cluster).list_buckets()
        patch.unpatch()
        with pytest.raises(BotoCoreError):
            aistore.client(cluster.endpoint_url, token="token").list_buckets()
        assert cluster.requests == ()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_opt_out_works_and_warns_every_time(
    authority: Authority, make: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning for each client and each log-in."""
    monkeypatch.setenv("AIS_SKIP_VERIFY_CRT", "true")
    caplog.set_level(logging.WARNING, "callback_sdk")
    with cluster_of(authority) as cluster:
        for number in range(1, 3):
            make(cluster).list_buckets()
            warned = [record.message for record in caplog.records]
            assert sum(cluster.authn_url in message for message in warned) == number
            assert sum(cluster.endpoint_url in message for message in warned) >= number
        assert {"are not verified" in message for message in warned} == {True}


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_settings_of_the_patch_are_for_its_cluster_only(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another store is verified as before, also without an endpoint; and a client's own settings stay."""
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    with cluster_of(authority) as cluster, cluster_of(other) as store:
        try:
            patch.patch(cluster.endpoint_url, verify=False, token=cluster.issue_token("anna"))
            plain(cluster.endpoint_url).list_buckets()
            with pytest.raises(SSLError):
                plain(store.endpoint_url).list_buckets()
            with pytest.raises(SSLError):
                plain(cluster.endpoint_url, verify=str(other.file)).list_buckets()
            monkeypatch.setenv("AIS_SKIP_VERIFY_CRT", "1")
            patch.patch()
            with pytest.raises(SSLError):
                plain(store.endpoint_url).list_buckets()
        finally:
            patch.unpatch()
        assert store.requests == ()


def test_redirect_from_tls_to_plain_http_is_rejected(authority: Authority) -> None:
    """Also to a node that is unknown, and gets no token."""
    with cluster_of(authority) as cluster:
        s3 = aistore.client(
            cluster.endpoint_url, token=cluster.issue_token("anna"), verify=authority.file, unknown_nodes="follow"
        )
        cluster.respond(307, headers={"Location": "http://10.0.0.9/s3/b/k"})
        with pytest.raises(RedirectHostError, match="not encrypted"):
            s3.get_object(Bucket="b", Key="k")


@pytest.mark.parametrize("how", ["client", "patch"])
def test_body_with_a_trailing_checksum_begins_where_it_was_handed_over(authority: Authority, how: str) -> None:
    """By default boto3 sends it in chunks, over TLS only; the redirect sends the same part of the file again."""
    with cluster_of(authority) as cluster:
        s3 = plain(cluster.endpoint_url, verify=str(authority.file), aws_session_token=cluster.issue_token("anna"))
        if how == "patch":
            patch.patch()
        else:
            aistore.follow_redirects(s3)
        try:
            s3.create_bucket(Bucket="b")
            body = io.BytesIO(b"first half, second half")
            body.seek(12)
            s3.put_object(Bucket="b", Key="k", Body=body)
        finally:
            patch.unpatch()
        assert cluster.objects == {"b/k": b"second half"}
        assert any("x-amz-trailer" in request.headers for request in cluster.requests)
