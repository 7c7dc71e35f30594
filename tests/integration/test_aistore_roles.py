"""AIStore with AuthN's default roles, which may not see the map of the cluster: tokens and redirects."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from callback_sdk import aistore
from callback_sdk.aistore import patch
from callback_sdk.errors import ConfigurationError, RedirectHostError
from callback_sdk.testing import AIStore
from callback_sdk.testing.received import ReceivedRequest
from tests.checkers.surface import exercise
from tests.conftest import missing_server

# Its import patches botocore for all tests of this process.
patch.unpatch()

ROOT = Path(__file__).parents[2]
OLDEST = Path(sys.prefix) / "oldest"
USERS = {"anna": "a password MARKER77d0"}
ELSEWHERE = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
"""Addresses of nodes; those on the proxy's own host are known anyway."""

Make = Callable[[AIStore, str], Any]


def plain(cluster: AIStore, **options: Any) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=cluster.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key="key",
        config=Config(s3={"addressing_style": "path"}, proxies={}, retries={"total_max_attempts": 1}),
        **options,
    )


def with_hook(cluster: AIStore, token: str) -> Any:
    """Make a client as AIStore documents it: a handler sets the header."""
    s3 = plain(cluster)

    def add_token(request: Any, **_: Any) -> None:
        request.headers["Authorization"] = f"Bearer {token}"

    s3.meta.events.register("before-send.s3.*", add_token)
    return s3


MAKERS: dict[str, Make] = {
    "client": lambda cluster, token: aistore.client(cluster.endpoint_url, token=token),
    "use_token": lambda cluster, token: aistore.use_token(aistore.follow_redirects(plain(cluster)), token),
    "session token": lambda cluster, token: aistore.follow_redirects(plain(cluster, aws_session_token=token)),
    "hook": lambda cluster, token: aistore.follow_redirects(with_hook(cluster, token)),
    "patch, session token": lambda cluster, token: plain(cluster, aws_session_token=token),
    "patch, hook": with_hook,
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Give a function that makes a client which follows redirects and sends a token, in each way that is documented."""
    if request.param.startswith("patch"):
        patch.patch()
    yield MAKERS[request.param]
    patch.unpatch()


def tokens(request: ReceivedRequest) -> set[str]:
    """Return what a request has that is a credential."""
    return {name for name in ("authorization", "x-amz-security-token") if name in request.headers}


def at_nodes(cluster: AIStore) -> list[ReceivedRequest]:
    ports = {int(url.rpartition(":")[2]) for url in cluster.node_urls}
    return [request for request in cluster.requests if request.port in ports]


def maps(cluster: AIStore) -> list[ReceivedRequest]:
    return [request for request in cluster.requests if request.path == "/v1/cluster?what=smap"]


@pytest.mark.parametrize("role", ["Admin", "BucketOwner"])
def test_every_operation_works_with_each_kind_of_token(make: Make, role: str) -> None:
    """The map is requested with the token; a node of it gets the token too, and an unknown one doesn't."""
    with AIStore(users=USERS, roles={"anna": role}, addresses=ELSEWHERE) as cluster:
        exercise(make(cluster, cluster.issue_token("anna")), "bucket", aistore=True)
        assert [request.status for request in maps(cluster)] == [200 if role == "Admin" else 403]
        assert tokens(maps(cluster)[0])
        assert {bool(tokens(request)) for request in at_nodes(cluster)} == {role == "Admin"}
        assert {request.status for request in cluster.requests} <= {200, 204, 206, 307, 403, 404}


def test_guest_reads(make: Make) -> None:
    """The role that may only read is redirected like the others."""
    with AIStore(users=USERS | {"boss": "x"}, roles={"anna": "Guest"}, addresses=ELSEWHERE) as cluster:
        owner = aistore.client(cluster.endpoint_url, token=cluster.issue_token("boss"))
        owner.create_bucket(Bucket="b")
        owner.put_object(Bucket="b", Key="k", Body=b"x")
        s3 = make(cluster, cluster.issue_token("anna"))
        assert s3.get_object(Bucket="b", Key="k")["Body"].read() == b"x"
        with pytest.raises(ClientError, match="insufficient permissions"):
            s3.put_object(Bucket="b", Key="k", Body=b"y")


def test_unknown_nodes_are_rejected_on_request(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the environment, for clients and patch: nothing is sent to a node that isn't in a map."""
    monkeypatch.setenv("CALLBACK_SDK_AISTORE_UNKNOWN_NODES", "reject")
    patch.unpatch()
    patch.patch()
    with AIStore(users=USERS, addresses=ELSEWHERE) as cluster:
        s3 = make(cluster, cluster.issue_token("anna"))
        s3.create_bucket(Bucket="b")
        with pytest.raises(RedirectHostError, match="not a node of the cluster"):
            s3.put_object(Bucket="b", Key="k", Body=b"x")
        assert at_nodes(cluster) == []


def test_named_hosts_get_the_token(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Roles without the map can name the nodes, and the map isn't asked for."""
    monkeypatch.setenv("CALLBACK_SDK_AISTORE_ALLOW_HOSTS", " ".join(ELSEWHERE))
    patch.unpatch()
    patch.patch()
    with AIStore(users=USERS, addresses=ELSEWHERE) as cluster:
        exercise(make(cluster, cluster.issue_token("anna")), "bucket", aistore=True)
        assert maps(cluster) == []
        assert {bool(tokens(request)) for request in at_nodes(cluster)} == {True}


def test_patch_takes_options_as_arguments() -> None:
    """They replace those of the call before."""
    with AIStore(users=USERS, addresses=ELSEWHERE) as cluster:
        try:
            patch.patch(cluster.endpoint_url, token=cluster.issue_token("anna"), allow_hosts=ELSEWHERE)
            exercise(plain(cluster), "bucket", aistore=True)
            assert not any("AWS4" in request.headers.get("authorization", "") for request in cluster.requests)
            patch.patch(cluster.endpoint_url, token=cluster.issue_token("anna"), unknown_nodes="reject")
            s3 = plain(cluster)
            s3.create_bucket(Bucket="b")
            with pytest.raises(RedirectHostError):
                s3.put_object(Bucket="b", Key="k")
        finally:
            patch.unpatch()


def test_token_of_the_patch_is_for_its_cluster_and_for_clients_without_one() -> None:
    """Other clients in the process may be for other stores, and a client's own token is more specific."""
    roles = {"anna": "Guest", "boss": "Admin"}
    with AIStore(users=USERS | {"boss": "x"}, roles=roles) as cluster, AIStore(users=USERS) as other:
        try:
            patch.patch(cluster.endpoint_url, token=cluster.issue_token("boss"))
            plain(cluster).create_bucket(Bucket="b")
            with pytest.raises(ClientError, match="insufficient permissions"):
                plain(cluster, aws_session_token=cluster.issue_token("anna")).create_bucket(Bucket="c")
            with pytest.raises(ClientError, match="insufficient permissions"):
                with_hook(cluster, cluster.issue_token("anna")).create_bucket(Bucket="c")
            # A session token of AWS is of no use to AIStore.
            plain(cluster, aws_session_token="FwoGZXIvYXdzEXAMPLE").create_bucket(Bucket="d")
            with pytest.raises(ClientError, match="token required"):
                plain(other).create_bucket(Bucket="b")
        finally:
            patch.unpatch()


def test_map_that_failed_is_asked_for_again() -> None:
    """At the next request: the node is known from then on, and gets the token."""
    with AIStore(users=USERS, roles={"anna": "Admin"}, addresses=ELSEWHERE) as cluster:
        s3 = aistore.client(cluster.endpoint_url, token=cluster.issue_token("anna"))
        s3.create_bucket(Bucket="b")
        cluster.respond(307, headers={"Location": f"{cluster.node_urls[0]}/s3/b/k?ais_pid=p0&ais_ts=1"})
        cluster.respond(503)
        s3.put_object(Bucket="b", Key="k", Body=b"x")
        s3.put_object(Bucket="b", Key="k", Body=b"y")
        assert [request.status for request in maps(cluster)] == [503, 200]
        assert [bool(tokens(request)) for request in at_nodes(cluster)] == [False, True]


def test_node_that_joins_gets_requests_at_once() -> None:
    """No redirect to it is refused, however recent the map is."""
    with AIStore(users=USERS, roles={"anna": "Admin"}, nodes=1, addresses=ELSEWHERE) as cluster:
        s3 = aistore.client(cluster.endpoint_url, token=cluster.issue_token("anna"))
        s3.create_bucket(Bucket="b")
        for number in range(3):
            for key in range(10):
                s3.put_object(Bucket="b", Key=f"{number}-{key}", Body=b"x")
            cluster.add_node()
        assert len(maps(cluster)) == 3
        assert {bool(tokens(request)) for request in at_nodes(cluster)} == {True}


@pytest.mark.parametrize("role", ["Admin", "BucketOwner"])
def test_killed_node_causes_no_error(role: str) -> None:
    """The request goes back to the proxy, with its token, also from a node that is unknown."""
    with AIStore(users=USERS, roles={"anna": role}, addresses=ELSEWHERE) as cluster:
        s3 = aistore.client(cluster.endpoint_url, token=cluster.issue_token("anna"))
        s3.create_bucket(Bucket="b")
        cluster.kill_node(cluster.node_urls[0], noticed_after=1)
        for key in range(10):
            s3.put_object(Bucket="b", Key=str(key), Body=b"x")
        assert len(cluster.objects) == 10
        assert len(cluster.node_urls) == 2


def test_multihomed_nodes_are_known() -> None:
    """Redirects lead to each of their addresses, which the map lists in `pub_extra`."""
    with AIStore(users=USERS, roles={"anna": "Admin"}, multihomed=True, addresses=ELSEWHERE) as cluster:
        s3 = aistore.client(cluster.endpoint_url, token=cluster.issue_token("anna"), unknown_nodes="reject")
        exercise(s3, "bucket", aistore=True)
        assert len(maps(cluster)) == 1


@pytest.mark.parametrize("unknown_nodes", ["auto", "follow"])
@pytest.mark.parametrize(
    "place", ["http://127.0.0.2:9/latest/meta-data/", "http://169.254.169.254/s3/b/k", "http://[fe80::1%25lo]/s3/b/k"]
)
def test_unknown_host_gets_no_other_request(unknown_nodes: Any, place: str) -> None:
    """Neither for another path, nor at an address that only a metadata service has."""
    with AIStore(users=USERS) as cluster:
        s3 = aistore.client(cluster.endpoint_url, token=cluster.issue_token("anna"), unknown_nodes=unknown_nodes)
        cluster.respond(307, headers={"Location": place})
        with pytest.raises(RedirectHostError, match="nothing was sent there"):
            s3.get_object(Bucket="b", Key="k")


def test_redirect_with_the_clients_own_token_in_it_is_not_repeated(make: Make) -> None:
    """Neither in the error nor in the log."""
    with AIStore(users=USERS) as cluster:
        token = cluster.issue_token("anna")
        s3 = make(cluster, token)
        cluster.respond(307, headers={"Location": f"http://127.0.0.2:9/{token}/x"})
        with pytest.raises(Exception, match="has the token in it") as caught:
            s3.get_object(Bucket="b", Key="k")
        assert token not in str(caught.value)


def test_token_with_a_line_break_is_an_error_without_the_token(make: Make) -> None:
    """Whoever set it: that of the HTTP library quotes the header."""
    with AIStore(users=USERS) as cluster:
        with pytest.raises(ConfigurationError) as caught:
            make(cluster, "eyJMARKER\n").list_buckets()
        assert "MARKER" not in str(caught.value)
        assert cluster.requests == ()


@pytest.mark.parametrize("role", ["Guest", "Admin"])
def test_missing_permission_for_head_asks_once(role: str) -> None:
    """The native API tells a valid token from a rejected one, and the answer is kept for a while."""
    with AIStore(users=USERS, roles={"anna": role}) as cluster:
        log_in = aistore.Token("anna", USERS["anna"], cluster.authn_url)
        s3 = aistore.client(cluster.endpoint_url, token=log_in)
        s3.list_buckets()
        for status in (403, None, 403):
            if status is None:
                s3.list_buckets()
                continue
            cluster.respond(status)
            with pytest.raises(ClientError, match="403"):
                s3.head_bucket(Bucket="b")
        assert len(maps(cluster)) == 1
        assert len([request for request in cluster.requests if "/v1/users/" in request.path]) == 1


def test_rotated_token_file_is_read_again(tmp_path: Path) -> None:
    """Before the next request, so that none is rejected."""
    file, replacement = tmp_path / "auth.token", tmp_path / "new"
    with AIStore(users=USERS) as cluster:
        file.write_text(f'{{"token": "{cluster.issue_token("anna")}"}}')
        s3 = aistore.client(cluster.endpoint_url, token=aistore.Token(file=file))
        s3.list_buckets()
        cluster.revoke_tokens()
        replacement.write_text(cluster.issue_token("anna"))
        replacement.replace(file)
        s3.list_buckets()
        assert [request.status for request in cluster.requests] == [200, 200]


def test_incomplete_token_file_is_not_used(tmp_path: Path) -> None:
    """While it is written the token before is sent, and after a rejection the file is read once more."""
    file = tmp_path / "auth.token"
    with AIStore(users=USERS) as cluster:
        file.write_text(cluster.issue_token("anna"))
        s3 = aistore.client(cluster.endpoint_url, token=aistore.Token(file=file))
        s3.list_buckets()
        for content in ("", '{"token": "eyJhb'):
            file.write_text(content)
            s3.list_buckets()
        cluster.revoke_tokens()
        with pytest.raises(ClientError, match="token revoked"):
            s3.list_buckets()
        file.write_text(cluster.issue_token("anna"))
        s3.list_buckets()
        assert [request.status for request in cluster.requests] == [200, 200, 200, 403, 200]


def test_environment_of_aistores_sdk_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Endpoint and token, for client and patch; of a token and a token file the token counts."""
    with AIStore(users=USERS, roles={"anna": "Guest"}, addresses=ELSEWHERE) as cluster:
        monkeypatch.setenv("AIS_ENDPOINT", cluster.proxy_urls[0])
        monkeypatch.setenv("AIS_AUTHN_TOKEN", cluster.issue_token("anna"))
        monkeypatch.setenv("AIS_AUTHN_TOKEN_FILE", str(tmp_path / "none"))
        assert aistore.client().list_buckets()["Buckets"] == []
        patch.patch()
        try:
            assert plain(cluster).list_buckets()["Buckets"] == []
        finally:
            patch.unpatch()
        monkeypatch.delenv("AIS_AUTHN_TOKEN")
        (tmp_path / "none").write_text(cluster.issue_token("anna"))
        assert aistore.client().list_buckets()["Buckets"] == []
        monkeypatch.delenv("AIS_AUTHN_TOKEN_FILE")
        with pytest.raises(ClientError, match="token required"):
            plain(cluster).list_buckets()
    monkeypatch.delenv("AIS_ENDPOINT")
    with pytest.raises(ConfigurationError, match="endpoint is missing"):
        aistore.client()


def test_token_of_a_short_life_is_renewed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """AuthN's shortest, a minute, is as long as the usual margin: no request is rejected, and log-ins are few."""
    from callback_sdk.aistore import lifetimes, logins

    now = [lifetimes.clock()]
    monkeypatch.setattr(logins, "clock", lambda: now[0])
    with AIStore(users=USERS) as cluster:
        log_in = aistore.Token("anna", USERS["anna"], cluster.authn_url, expires_in=timedelta(minutes=1))
        s3 = aistore.client(cluster.endpoint_url, token=log_in)
        for _ in range(12):
            s3.list_buckets()
            now[0] += 10
        paths = [request.path for request in cluster.requests]
        assert {request.status for request in cluster.requests} == {200}
        assert paths.count("/v1/users/anna") == 3


SCRIPT = """
import importlib, sys
import boto3
from botocore.config import Config
from tests.checkers.surface import exercise
how, endpoint, token, bucket = sys.argv[1:]
from callback_sdk import aistore
if how == "client":
    s3 = aistore.client(endpoint, token=token or None, config=Config(proxies={}))
else:
    import callback_sdk.aistore.patch
    given = {"aws_session_token": token} if token else {}
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="id",
                      aws_secret_access_key="key", config=Config(s3={"addressing_style": "path"}, proxies={}), **given)
exercise(s3, bucket, aistore=True)
print(boto3.__version__)
"""


@pytest.mark.parametrize("version", ["newest", "oldest"])
@pytest.mark.parametrize("how", ["client", "patch"])
@pytest.mark.parametrize("role", [None, "Admin", "BucketOwner"])
def test_oldest_and_newest_boto3_with_client_and_patch(version: str, how: str, role: str | None) -> None:
    """All of S3 works, without AuthN, and with it for a role that may see the map and one that may not."""
    if version == "oldest" and not OLDEST.is_dir():
        missing_server("There is no old boto3 beside the newest one; make oldest installs it.")
    path = os.pathsep.join([str(OLDEST), str(ROOT)] if version == "oldest" else [str(ROOT)])
    users = {} if role is None else USERS
    with AIStore(users=users, roles={} if role is None else {"anna": role}, addresses=ELSEWHERE) as cluster:
        token = "" if role is None else cluster.issue_token("anna")
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", SCRIPT, how, cluster.endpoint_url, token, "bucket"],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("1.36.") is (version == "oldest")
