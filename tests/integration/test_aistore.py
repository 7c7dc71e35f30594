"""boto3 and the results writer against AIStore: a fake cluster, or the one that AIS_ENDPOINT names.

A real cluster needs AIS_ENDPOINT (or AISTORE_ENDPOINT), with AuthN also AIS_AUTHN_TOKEN or AIS_AUTHN_TOKEN_FILE (or
AISTORE_TOKEN), and with TLS AIS_CLIENT_CA if its authority isn't known. The token must permit to create and destroy
buckets. Each test uses a new bucket `callback-sdk-…`, and destroys it. The tests of redirects and tokens that no real
cluster can be made to answer always use the fake.
"""

from __future__ import annotations

import contextlib
import gc
import io
import itertools
import json
import os
import re
import secrets
import weakref
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from attrs import define, evolve
from botocore.config import Config
from botocore.exceptions import ClientError

from callback_sdk import AddressGuard, JobResult, PresignedPut, ResultsWriter, S3Signer, aistore, check_target
from callback_sdk.aistore.token_files import TokenFile
from callback_sdk.errors import (
    AIStoreLoginError,
    BodyNotRewindableError,
    ConfigurationError,
    DeliveryError,
    InvalidTargetError,
    RedirectError,
    RedirectHostError,
    RedirectLoopError,
    SigningError,
    TooManyRedirectsError,
    UnsupportedFeatureError,
)
from callback_sdk.redaction import Secret
from callback_sdk.testing import AIStore, ObjectStore, SeaweedFS
from tests.checkers.surface import exercise
from tests.integration.test_aistore_keys import HOSTILE

MARKER = "MARKER77d0"
USERS = {"anna": f"a password {MARKER}"}
ELSEWHERE = "http://127.0.0.2:9/x"
ADDRESSES = ("127.0.0.2", "127.0.0.3")
REAL = os.environ.get("AIS_ENDPOINT") or os.environ.get("AISTORE_ENDPOINT")
REAL_TOKEN = Secret(os.environ.get("AIS_AUTHN_TOKEN") or os.environ.get("AISTORE_TOKEN") or "")
REAL_TOKEN_FILE = os.environ.get("AIS_AUTHN_TOKEN_FILE")
PLAIN_KEYS = ("ü/1", "u\u0308/1", "\u00c3\u00bc/1", "a;1", "a;2", "a?b", "a#b", "a%2Fb", "a%b", "a+b", "a b", "a%20b")
"""Keys that AIStore stores; of other hostile ones it rejects some."""


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a real cluster's endpoint and token from the fakes, and give its authority to all clients."""
    for name in ("AIS_ENDPOINT", "AIS_AUTHN_TOKEN", "AIS_AUTHN_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        if "AIS_CLIENT_CA" in os.environ:
            monkeypatch.setenv(name, os.environ["AIS_CLIENT_CA"])


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


@define(frozen=True)
class Place:
    """A bucket in a cluster, a real one or a fake.

    Attributes:
        endpoint: The proxy's URL.
        token: The token, of AuthN; None without it.
        bucket: An empty bucket.
    """

    endpoint: str
    token: Secret[str] | None
    bucket: str

    @property
    def source(self) -> str | None:
        """The token in plain text."""
        return None if self.token is None else self.token.reveal()

    @property
    def s3(self) -> Any:
        """A client of `aistore.client`."""
        return aistore.client(self.endpoint, token=self.source)

    def plain(self, *, signature: str = "s3v4") -> Any:
        """Return a client as anybody would make it; AIStore documents its token as that of a session."""
        config = Config(signature_version=signature, s3={"addressing_style": "path"}, proxies={})
        endpoint = f"{self.endpoint.rstrip('/').removesuffix('/s3')}/s3"
        return plain(endpoint, config=config, aws_session_token=self.source)

    def presign(self, key: str, **options: Any) -> PresignedPut:
        """Presign a PUT, without the token, which would become a part of the URL."""
        return S3Signer(self.bucket, client=evolve(self, token=None).plain()).presign_put(key, **options)

    def writer(self) -> ResultsWriter:
        """Return a writer for this cluster, with SSRF protection."""
        return ResultsWriter(aistore_clusters={self.endpoint: self.source}, guard=AddressGuard())


@pytest.fixture(params=["real"] if REAL else ["fake", "fake with AuthN"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Create a bucket, and destroy it with its objects."""
    with contextlib.ExitStack() as stack:
        endpoint, given = REAL or "", real_token()
        if not REAL:
            fake = stack.enter_context(AIStore(users=USERS if "AuthN" in request.param else None, addresses=ADDRESSES))
            endpoint = fake.endpoint_url
            given = Secret(fake.issue_token("anna")) if "AuthN" in request.param else None
        place = Place(endpoint, given, f"callback-sdk-{secrets.token_hex(6)}")
        s3 = place.s3
        s3.create_bucket(Bucket=place.bucket)
        try:
            yield place
        finally:
            s3.delete_bucket(Bucket=place.bucket)


def real_token() -> Secret[str] | None:
    """Return the token of the real cluster; None without one."""
    if not REAL_TOKEN.reveal() and REAL_TOKEN_FILE:
        return Secret(TokenFile(Path(REAL_TOKEN_FILE))())
    return REAL_TOKEN if REAL_TOKEN.reveal() else None


@pytest.mark.parametrize("how", ["client", "existing client", "patch"])
def test_cluster_is_like_s3(place: Place, how: str) -> None:
    """All operations of boto3 work, but for the documented ones."""
    bucket = f"{place.bucket}-2"
    try:
        if how == "client":
            exercise(place.s3, bucket, aistore=True)
        elif how == "existing client":
            exercise(aistore.follow_redirects(place.plain()), bucket, aistore=True)
        else:
            with patched():
                exercise(place.plain(), bucket, aistore=True)
    except BaseException:
        # It destroys its bucket at the end.
        with contextlib.suppress(ClientError):
            place.s3.delete_bucket(Bucket=bucket)
        raise


@contextlib.contextmanager
def patched() -> Iterator[None]:
    from callback_sdk.aistore import patch

    patch.patch()
    try:
        yield
    finally:
        patch.unpatch()


@pytest.mark.parametrize("how", ["client", "patch", "writer"])
def test_cluster_has_each_key_under_its_own_name(place: Place, how: str) -> None:
    """AIStore rejects some keys. None is stored under another name, or over another object."""
    put = {"client": put_by_client, "patch": put_by_patch, "writer": put_by_writer}[how]
    accepted, s3 = put(place), place.s3
    assert len(accepted) >= len(PLAIN_KEYS)
    assert set(PLAIN_KEYS) <= set(accepted)
    for key, number in accepted.items():
        body = s3.get_object(Bucket=place.bucket, Key=key)["Body"].read()
        assert json.loads(body)["job_id"] == str(number), key
    listed = [item["Key"] for item in s3.list_objects_v2(Bucket=place.bucket)["Contents"]]
    assert set(PLAIN_KEYS) <= set(listed)


def put_by_client(place: Place) -> dict[str, int]:
    return put_all(place, place.s3)


def put_by_patch(place: Place) -> dict[str, int]:
    with patched():
        return put_all(place, place.plain())


def put_all(place: Place, s3: Any) -> dict[str, int]:
    """Put an object for each key, and return the number of each that was accepted."""
    accepted = {}
    for number, key in enumerate(HOSTILE):
        body = json.dumps({"job_id": str(number)}).encode()
        with rejected(ClientError):
            s3.put_object(Bucket=place.bucket, Key=key, Body=body)
            accepted[key] = number
    return accepted


def put_by_writer(place: Place) -> dict[str, int]:
    accepted = {}
    with place.writer() as writer:
        for number, key in enumerate(HOSTILE):
            with rejected(DeliveryError, InvalidTargetError, SigningError):
                writer.write(JobResult(job_id=str(number), success=True), place.presign(key))
                accepted[key] = number
    return accepted


@contextlib.contextmanager
def rejected(*kinds: type[Exception]) -> Iterator[None]:
    """Permit errors that mean a rejected key, and no others."""
    try:
        yield
    except kinds as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(error, ClientError) else None
        status = error.status if isinstance(error, DeliveryError) else status
        if not (isinstance(error, (InvalidTargetError, SigningError)) or status in (400, 404)):
            raise


def test_cluster_overwrites_what_is_to_be_written_once(place: Place) -> None:
    """`If-None-Match` is ignored, and `check` warns of it."""
    for body in (b"first", b"second"):
        place.s3.put_object(Bucket=place.bucket, Key="once", Body=body, IfNoneMatch="*")
    assert place.s3.get_object(Bucket=place.bucket, Key="once")["Body"].read() == b"second"
    put = place.presign("once", if_none_match=True)
    (warning,) = check_target(put, aistore_clusters=[place.endpoint]).warnings(datetime.now(timezone.utc))
    assert "ignores If-None-Match" in warning


def test_cluster_takes_any_signature(place: Place) -> None:
    """One that was changed, or that has expired; with AuthN only with a token."""
    put = place.presign("42.json")
    damaged = put.url[:-4] + ("0000" if put.url[-4:] != "0000" else "1111")
    with place.writer() as writer:
        (receipt,) = writer.write(JobResult(job_id="42", success=True), damaged)
    assert receipt.status == 200
    expired = place.plain().generate_presigned_url(
        "get_object", {"Bucket": place.bucket, "Key": "42.json"}, ExpiresIn=1
    )
    stale = re.sub("X-Amz-Date=[0-9]{8}", "X-Amz-Date=20200101", expired)
    headers = {} if place.source is None else {"Authorization": f"Bearer {place.source}"}
    assert requests.get(stale, headers=headers, timeout=60).json()["job_id"] == "42"


def test_cluster_with_authentication_requires_a_token_besides_the_signature(place: Place) -> None:
    """The error names the option of the writer."""
    put = place.presign("42.json")
    with ResultsWriter(aistore_clusters={place.endpoint: None}) as writer:
        if place.token is None:
            assert writer.write(JobResult(job_id="42", success=True), put)[0].status == 200
            return
        with pytest.raises(DeliveryError, match="token required") as caught:
            writer.write(JobResult(job_id="42", success=True), put)
    assert "aistore_clusters" in caught.value.hint


def test_cluster_has_no_forms(place: Place) -> None:
    """It answers 400 to them, so they are rejected before sending."""
    post = S3Signer(place.bucket, client=evolve(place, token=None).plain()).presign_post("42.json")
    with place.writer() as writer, pytest.raises(UnsupportedFeatureError, match="AIStore"):
        writer.write(JobResult(job_id="42", success=True), post)
    headers = {} if place.source is None else {"Authorization": f"Bearer {place.source}"}
    form = {name: (None, value) for name, value in post.fields.items()} | {"file": ("42.json", b"{}")}
    assert requests.post(post.url, files=form, headers=headers, timeout=60).status_code == 400


def test_cluster_copies_no_parts(place: Place) -> None:
    """So boto3's managed copy of more than 8 MB fails, and a copy as a whole works."""
    # By one thread: first connections of several crash botocore at times (botocore issue 3164).
    place.s3.put_object(Bucket=place.bucket, Key="large", Body=bytes(9 * 1024 * 1024))
    source = {"Bucket": place.bucket, "Key": "large"}
    with pytest.raises(ClientError):
        place.s3.copy(source, place.bucket, "copy")
    place.s3.copy_object(Bucket=place.bucket, Key="copy", CopySource=source)
    assert place.s3.head_object(Bucket=place.bucket, Key="copy")["ContentLength"] == 9 * 1024 * 1024


def test_cluster_says_that_a_deleted_object_is_missing(place: Place) -> None:
    """S3 answers 204."""
    with pytest.raises(ClientError, match="NoSuchKey"):
        place.s3.delete_object(Bucket=place.bucket, Key="missing")
