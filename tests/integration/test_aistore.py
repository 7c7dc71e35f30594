"""boto3 against AIStore: a stand-in with its redirects and its tokens, or the cluster that AISTORE_ENDPOINT names."""

from __future__ import annotations

import gc
import io
import itertools
import os
import secrets
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from callback_sdk import JobResult, ResultsWriter, S3Signer, aistore
from callback_sdk.errors import (
    AIStoreLoginError,
    BodyNotRewindableError,
    ConfigurationError,
    RedirectError,
    RedirectHostError,
    RedirectLoopError,
    TooManyRedirectsError,
)
from callback_sdk.testing import AIStore, ObjectStore, SeaweedFS
from tests.checkers.surface import exercise

MARKER = "MARKER77d0"
USERS = {"anna": f"a password {MARKER}"}
ELSEWHERE = "http://127.0.0.2:9/x"


@pytest.fixture
def cluster() -> Iterator[AIStore]:
    """Run a cluster without authentication."""
    with AIStore() as cluster:
        yield cluster


@pytest.fixture
def guarded() -> Iterator[AIStore]:
    """Run a cluster with authentication."""
    with AIStore(users=USERS) as cluster:
        yield cluster


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    """Run a store that sends prepared responses."""
    with ObjectStore() as store:
        yield store


def name() -> str:
    return f"bucket-{secrets.token_hex(6)}"


def plain(endpoint: str, **options: Any) -> Any:
    """Make a client as anybody would."""
    config = Config(s3={"addressing_style": "path"}, proxies={}, retries={"total_max_attempts": 2})
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key="key",
        **{"config": config, **options},
    )


def token(cluster: AIStore, **options: Any) -> aistore.Token:
    return aistore.Token("anna", USERS["anna"], cluster.authn_url, **options)


def nodes_asked(cluster: AIStore) -> set[str]:
    ports = {request.port for request in cluster.requests}
    return {url for url in cluster.node_urls if int(url.rpartition(":")[2]) in ports}


@pytest.mark.skipif("AISTORE_ENDPOINT" not in os.environ, reason="AISTORE_ENDPOINT names no cluster")
def test_a_real_cluster_is_like_s3() -> None:
    """All operations of boto3 work as with S3."""
    exercise(
        aistore.client(os.environ["AISTORE_ENDPOINT"], token=os.environ.get("AISTORE_TOKEN")), name(), aistore=True
    )


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_every_operation_follows_redirects(status: int) -> None:
    """For all redirect statuses, for objects, buckets and parts."""
    with AIStore(redirect_status=status, redirect_all=True) as cluster:
        exercise(aistore.client(cluster.endpoint_url), name(), aistore=True)
        assert len(nodes_asked(cluster)) > 1
        assert {request.status for request in cluster.requests if request.status >= 300} == {status}


def test_a_relative_redirect_is_followed() -> None:
    """It stays on the host that answered."""
    with AIStore(relative=True) as cluster:
        exercise(aistore.client(cluster.endpoint_url), name(), aistore=True)


def test_a_cluster_with_authentication_is_like_s3(guarded: AIStore) -> None:
    """One login is enough, and no AWS credentials are needed."""
    exercise(aistore.client(guarded.endpoint_url, token=token(guarded)), name(), aistore=True)
    assert [request.path for request in guarded.requests if "/v1/users/" in request.path] == ["/v1/users/anna"]
    assert not any("AWS4" in request.headers.get("authorization", "") for request in guarded.requests)


def test_a_client_that_exists_learns_it(guarded: AIStore) -> None:
    """In either order, with the client's own credentials, which stay at home."""
    session = {"aws_session_token": MARKER}
    for steps in (("follow_redirects", "use_token"), ("use_token", "follow_redirects")):
        s3 = plain(guarded.endpoint_url, **session)
        for step in steps:
            arguments = (token(guarded),) if step == "use_token" else ()
            assert getattr(aistore, step)(s3, *arguments) is s3
        exercise(s3, name(), aistore=True)
    assert not any(MARKER in str(dict(request.headers)) for request in guarded.requests)


def test_without_help_boto3_does_not_follow(cluster: AIStore) -> None:
    """The reason for all of this."""
    s3, bucket = plain(cluster.endpoint_url), name()
    s3.create_bucket(Bucket=bucket)
    with pytest.raises(ClientError, match=r"307|TemporaryRedirect"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")


def test_the_query_of_a_redirect_is_not_changed() -> None:
    """Nodes reject requests without it, or with another one."""
    with AIStore(sign_redirects=True) as cluster:
        s3, bucket = aistore.client(cluster.endpoint_url), name()
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        past_the_proxy = aistore.client(cluster.node_urls[0])
        with pytest.raises(ClientError, match="did not come from a proxy"):
            past_the_proxy.get_object(Bucket=bucket, Key="k")


@pytest.mark.parametrize("how", ["wrong", "none"])
def test_a_wrong_token_is_refused(guarded: AIStore, how: str) -> None:
    """With the server's answer, asked for once."""
    s3 = aistore.client(guarded.endpoint_url, token="nonsense" if how == "wrong" else None)
    with pytest.raises(ClientError, match="invalid token" if how == "wrong" else "token required"):
        s3.list_buckets()
    assert len(guarded.requests) == 1


def test_a_refused_token_is_replaced_once(guarded: AIStore) -> None:
    """Also in the middle of an upload."""
    s3, bucket = aistore.client(guarded.endpoint_url, token=token(guarded)), name()
    s3.create_bucket(Bucket=bucket)
    guarded.revoke_tokens()
    s3.put_object(Bucket=bucket, Key="k", Body=io.BytesIO(b"0123"))
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == 4


def test_a_token_rejected_without_a_message_is_renewed(guarded: AIStore) -> None:
    """The response to HEAD has no body: a request to the native API tells what is wrong."""
    s3, bucket = aistore.client(guarded.endpoint_url, token=token(guarded)), name()
    s3.create_bucket(Bucket=bucket)
    guarded.revoke_tokens()
    s3.head_bucket(Bucket=bucket)
    assert [(request.method, request.status) for request in guarded.requests[-4:]] == [
        ("HEAD", 403),
        ("GET", 401),
        ("POST", 200),
        ("HEAD", 200),
    ]


@pytest.mark.parametrize("operation", ["put_object", "delete_object", "create_bucket"])
def test_a_missing_permission_asks_for_no_other_token(operation: str) -> None:
    """Only an invalid token is renewed, and the error has the cluster's message."""
    with AIStore(users=USERS, roles={"anna": "Guest"}) as cluster:
        s3 = aistore.client(cluster.endpoint_url, token=token(cluster))
        key = {} if operation == "create_bucket" else {"Key": "k"}
        with pytest.raises(ClientError, match="insufficient permissions"):
            getattr(s3, operation)(Bucket=name(), **key)
        assert [request.status for request in cluster.requests] == [200, 403]


def test_a_missing_permission_for_head_is_not_retried() -> None:
    """The native API answers 403 to a valid token without the permission to see the cluster."""
    with AIStore(users=USERS, roles={"anna": "Guest"}, reverse_proxy=True) as cluster:
        s3 = aistore.client(cluster.endpoint_url, token=token(cluster))
        s3.list_buckets()
        cluster.respond(403)
        with pytest.raises(ClientError, match="403"):
            s3.head_bucket(Bucket=name())
        assert [request.status for request in cluster.requests] == [200, 200, 403, 403]


def test_a_second_rejected_token_is_an_error(guarded: AIStore) -> None:
    """The client doesn't retry endlessly."""
    numbers = itertools.count()
    s3 = aistore.client(guarded.endpoint_url, token=lambda: f"nonsense-{next(numbers)}")
    with pytest.raises(ClientError, match="invalid token"):
        s3.list_buckets()
    assert [request.status for request in guarded.requests] == [403, 403]


def test_a_token_may_be_a_function(guarded: AIStore) -> None:
    """It is called for each request, and again after a rejection."""
    log_in, given = token(guarded), ["nonsense"]
    s3 = aistore.client(guarded.endpoint_url, token=lambda: given.pop() if given else log_in())
    s3.list_buckets()
    assert [request.status for request in guarded.requests] == [403, 200, 200]


def test_a_failed_login_is_a_clear_error(guarded: AIStore, store: ObjectStore) -> None:
    """The error names the endpoint, and contains no password."""
    closed = "http://127.0.0.1:9"
    for user, url, said in (
        ("bert", guarded.authn_url, "answered 401"),
        ("anna", store.endpoint_url, "answered 412"),
        ("anna", closed, "did not respond"),
    ):
        source = aistore.Token(user, f"not {USERS['anna']}", url)
        with pytest.raises(AIStoreLoginError, match=said) as caught:
            aistore.client(guarded.endpoint_url, token=source).list_buckets()
        assert url in str(caught.value)
        assert MARKER not in str(caught.value) + repr(source)


def test_the_token_stays_in_the_cluster(guarded: AIStore, store: ObjectStore) -> None:
    """A redirect to another host is rejected before the token or anything else is sent there."""
    s3 = aistore.client(guarded.endpoint_url, token=token(guarded), allow_hosts=["localhost"])
    elsewhere = store.endpoint_url.replace("127.0.0.1", "localhost")
    s3.list_buckets()
    guarded.respond(307, headers={"Location": "http://127.0.0.2:9/s3"})
    with pytest.raises(RedirectHostError):
        s3.list_buckets()
    guarded.respond(307, headers={"Location": f"{elsewhere}/s3"})
    with pytest.raises(ClientError):
        s3.list_buckets()
    (request,) = store.requests
    assert request.headers["authorization"].startswith("Bearer ")
    only_token = aistore.use_token(plain(guarded.endpoint_url), token(guarded))
    assert only_token.list_buckets()["Buckets"] is not None


def ask(s3: Any) -> Any:
    return s3.get_object(Bucket="b", Key="k")


@pytest.mark.parametrize(
    ("location", "kind", "words"),
    [
        (None, RedirectError, "without a Location"),
        ("", RedirectError, "without a Location"),
        ("ftp://127.0.0.1/x", RedirectError, "neither http nor https"),
        ("file:///etc/passwd", RedirectError, "neither http nor https"),
        (ELSEWHERE, RedirectHostError, "allow_hosts="),
        ("//127.0.0.2:9/x", RedirectHostError, "allow_hosts="),
        ("http://127.0.0.1@127.0.0.2:9/x", RedirectHostError, "allow_hosts="),
    ],
)
def test_an_invalid_redirect_is_an_error(
    store: ObjectStore, location: str | None, kind: type[RedirectError], words: str
) -> None:
    """The error has a hint and no query, and nothing is sent."""
    s3 = aistore.follow_redirects(plain(f"{store.endpoint_url}/s3"))
    headers = {} if location is None else {"Location": f"{location}?secret={MARKER}" if location else ""}
    store.respond(307, headers=headers)
    with pytest.raises(kind, match=words) as caught:
        ask(s3)
    assert MARKER not in str(caught.value)
    assert [request.path.partition("?")[0] for request in store.requests if "smap" not in request.path] == ["/s3/b/k"]


def test_a_loop_names_both_ends(store: ObjectStore) -> None:
    """From one door to the other and back."""
    first, second = store._origins
    store.respond(307, headers={"Location": f"{second}/s3/b/k?a=1"})
    store.respond(307, headers={"Location": f"{first}/s3/b/k?a=2"})
    with pytest.raises(RedirectLoopError) as caught:
        ask(aistore.follow_redirects(plain(f"{store.endpoint_url}/s3")))
    assert caught.value.urls == (f"{first}/s3/b/k", f"{second}/s3/b/k", f"{first}/s3/b/k")
    assert f"{first}/s3/b/k -> {second}/s3/b/k -> {first}/s3/b/k" in str(caught.value)


@pytest.mark.parametrize("most", [0, 3])
def test_one_redirect_too_many_is_an_error(store: ObjectStore, most: int) -> None:
    """Three are followed, unless another number is given."""
    for number in range(most + 1):
        store.respond(307, headers={"Location": f"/s3/b/k{number}"})
    with pytest.raises(TooManyRedirectsError, match=f"more than {most} times"):
        ask(aistore.follow_redirects(plain(f"{store.endpoint_url}/s3"), max_redirects=most))
    assert len(store.requests) == most + 1


def test_three_redirects_are_followed(store: ObjectStore) -> None:
    """The fourth request is the answer."""
    for number in range(3):
        store.respond(302, headers={"Location": f"/s3/b/k{number}"})
    store.respond(200, body=b"x")
    assert ask(aistore.follow_redirects(plain(f"{store.endpoint_url}/s3")))["Body"].read() == b"x"


class Stream(io.RawIOBase):
    """A stream that can be read only once."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._data.readinto(buffer)


def test_a_stream_that_can_not_go_back_is_a_clear_error(store: ObjectStore) -> None:
    """Not an empty object, and not half of one."""
    store.respond(307, headers={"Location": "/s3/b/elsewhere"})
    s3 = aistore.client(store.endpoint_url)
    with pytest.raises(BodyNotRewindableError, match="Stream"):
        s3.put_object(Bucket="b", Key="k", Body=Stream(b"0123"), ContentLength=4)
    assert store.objects == {}


def test_a_retry_starts_at_the_proxy() -> None:
    """The proxy knows which nodes are up, and the body is sent from its start."""
    with AIStore() as cluster:
        s3, bucket = aistore.client(cluster.endpoint_url), name()
        s3.create_bucket(Bucket=bucket)
        cluster.respond(307, headers={"Location": f"{cluster.node_urls[0]}/s3/{bucket}/k"})
        cluster.respond(500)
        s3.put_object(Bucket=bucket, Key="k", Body=io.BytesIO(b"0123"))
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"0123"
        asked = [request.port for request in cluster.requests if request.method == "PUT"][1:]
        proxy = int(cluster.endpoint_url.split(":")[2].removesuffix("/s3"))
        assert [port == proxy for port in asked] == [True, False, True, False]


@pytest.mark.parametrize("wrong", ["aistore:8080", "ftp://aistore", "http://", ""])
def test_an_endpoint_that_is_not_a_url_is_rejected(wrong: str) -> None:
    """The error is raised at once, not at the first request."""
    with pytest.raises(ConfigurationError, match="http://aistore:8080"):
        aistore.client(wrong)


@pytest.mark.parametrize(
    "use",
    [
        lambda: aistore.follow_redirects(boto3.client("sqs", region_name="us-east-1")),
        lambda: aistore.use_token(object(), "token"),
        lambda: aistore.use_token(plain("http://127.0.0.1:9"), ""),
        lambda: aistore.client("http://127.0.0.1:9", allow_hosts="node-1"),
        lambda: aistore.Token("anna", "password", "authn:52001"),
    ],
)
def test_invalid_arguments_are_rejected(use: Callable[[], Any]) -> None:
    """A client of another AWS service, an empty token, and one string instead of a list."""
    with pytest.raises(ConfigurationError):
        use()


def test_a_result_arrives_by_a_url_that_was_signed_for_aistore(cluster: AIStore) -> None:
    """The signer knows the endpoint's path, and the writer follows the redirect to another port."""
    s3, bucket = plain(cluster.endpoint_url), name()
    s3.create_bucket(Bucket=bucket)
    put = S3Signer(bucket, client=s3).presign_put("runs/42.json")
    assert put.url.startswith(f"{cluster.endpoint_url}/{bucket}/runs/42.json?")
    with ResultsWriter(storage_endpoints=[cluster.endpoint_url]) as writer:
        (receipt,) = writer.write(JobResult(job_id="42", success=True, results={"a": 1}), put)
    assert receipt.status == 200
    assert nodes_asked(cluster)


def test_a_presigned_request_to_amazon_goes_through_aistore(seaweedfs: SeaweedFS) -> None:
    """The store verifies the signature for Amazon's host, so AIStore must reconstruct the form of the URL."""
    bucket = seaweedfs.create_bucket()
    amazon = boto3.client(
        "s3",
        region_name=seaweedfs.region,
        aws_access_key_id=seaweedfs.access_key,
        aws_secret_access_key=seaweedfs.secret_key,
        config=Config(s3={"addressing_style": "path"}),
    )
    put = S3Signer(bucket, client=amazon).presign_put("42.json", metadata={"run": "42"})
    with AIStore(seaweedfs, presigned=True) as cluster, ResultsWriter() as writer:
        through = aistore.through(put, cluster.endpoint_url)
        writer.write(JobResult(job_id="42", success=True, results={"a": 1}), through)
    stored = seaweedfs.client().get_object(Bucket=bucket, Key="42.json")
    assert stored["Metadata"] == {"run": "42"}
    assert b'"a":1' in stored["Body"].read()
    assert {request.headers["ais-s3-signed-request-style"] for request in cluster.requests} == {"path"}


def test_settings_of_deleted_clients_are_released(cluster: AIStore) -> None:
    """A client that is garbage-collected leaves no settings behind."""
    s3 = aistore.client(cluster.endpoint_url)
    gone = weakref.ref(s3)
    del s3
    gc.collect()
    assert gone() is None
