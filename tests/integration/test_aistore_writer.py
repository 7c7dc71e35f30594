"""Results in AIStore: redirects to any node, the bearer token of AuthN, and what the cluster doesn't support."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from callback_sdk import AddressGuard, Client, JobResult, Outbox, ResultsWriter, S3Signer, aistore
from callback_sdk.config.service import ServiceConfig
from callback_sdk.config.storage import WriterConfig
from callback_sdk.errors import (
    AddressNotAllowedError,
    CallbackSDKError,
    ConfigurationError,
    DeliveryError,
    InvalidTargetError,
    UnsupportedFeatureError,
)
from callback_sdk.redaction import SecretURL
from callback_sdk.testing import AIStore, LocalService, ObjectStore, SeaweedFS
from tests.commands import run_here

MARKER = "MARKER5c1e"
USERS = {"anna": f"a/password @{MARKER}", "gustav": "a guest's"}
RESULT = JobResult(job_id="42", success=True, results={"a": 1})
ELSEWHERE = ("127.0.0.2", "127.0.0.3")
ONCE = timedelta(0)


@pytest.fixture
def cluster() -> Iterator[AIStore]:
    """Run a cluster with authentication and the bucket `b`; its nodes have other addresses than its proxy."""
    with AIStore(users=USERS, roles={"gustav": "Guest"}, addresses=ELSEWHERE) as cluster:
        aistore.client(cluster.endpoint_url, token=cluster.issue_token("anna")).create_bucket(Bucket="b")
        yield cluster


def signer(cluster: AIStore) -> S3Signer:
    client = boto3.client(
        "s3",
        endpoint_url=cluster.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key="key",
        config=Config(s3={"addressing_style": "path"}),
    )
    return S3Signer("b", client=client)


def login(cluster: AIStore) -> aistore.Token:
    return aistore.Token("anna", USERS["anna"], cluster.authn_url)


def proxy(cluster: AIStore) -> str:
    return cluster.proxy_urls[0]


def login_url(cluster: AIStore) -> str:
    """Return AuthN's URL with user name and password, as a setting has it."""
    return cluster.authn_url.replace("://", f"://anna:a%2Fpassword%20%40{MARKER}@")


def uploads(cluster: AIStore) -> list[tuple[bool, str | None, int]]:
    """Return for each PUT after that of the bucket whether the proxy got it, its Authorization, and the status."""
    port = int(proxy(cluster).rpartition(":")[2])
    return [
        (request.port == port, request.headers.get("authorization"), request.status)
        for request in cluster.requests
        if request.method == "PUT" and request.path != "/s3/b"
    ]


def test_token_is_sent_to_the_proxy_and_to_no_node(cluster: AIStore) -> None:
    """A guard allows neither: the cluster is named, so all its nodes are reached."""
    writer = ResultsWriter(aistore_clusters={proxy(cluster): login(cluster)}, guard=AddressGuard())
    with writer:
        (receipt,) = writer.write(RESULT, signer(cluster).presign_put("42.json"))
    assert (receipt.target_kind, receipt.status, receipt.attempts) == ("s3-put", 200, 1)
    assert b'"a":1' in cluster.objects["b/42.json"]
    (at_proxy, sent, first), at_node = uploads(cluster)
    assert (at_proxy, first, at_node) == (True, 307, (False, None, 200))
    assert sent is not None
    assert sent.startswith("Bearer ")


class OwnGuard:
    """A guard of a user's own, which permits nothing."""

    def resolve(self, url: SecretURL, deadline: float) -> Any:
        raise OSError("no address")


def test_guard_of_a_user_decides_on_nodes(cluster: AIStore) -> None:
    """Any object with `resolve` is a guard; a named proxy is reached all the same."""
    clusters = {proxy(cluster): login(cluster)}
    guard: Any = OwnGuard()
    for options in ({"aistore_clusters": clusters}, {}):
        writer = ResultsWriter(guard=guard, timeout=ONCE, **options)
        with writer, pytest.raises(DeliveryError) as caught:
            writer.write(RESULT, signer(cluster).presign_put("42.json"))
        assert caught.value.status is None
    assert [status for _, _, status in uploads(cluster)] == [307]


@pytest.mark.parametrize("endpoint", ["without /s3", "with /s3"])
@pytest.mark.parametrize("form", ["text", "function"])
def test_token_may_be_a_text_or_a_function(cluster: AIStore, endpoint: str, form: str) -> None:
    """The URL of the proxy may have the path of the S3 API."""
    token = cluster.issue_token("anna")
    source = token if form == "text" else lambda: token
    url = cluster.endpoint_url if endpoint == "with /s3" else proxy(cluster)
    with ResultsWriter(aistore_clusters={url: source}) as writer:
        writer.write(RESULT, signer(cluster).presign_put("42.json"))
    assert list(cluster.objects) == ["b/42.json"]


def test_cluster_without_authentication_needs_no_token() -> None:
    """Its nodes are reached all the same."""
    with AIStore(addresses=ELSEWHERE) as cluster:
        aistore.client(cluster.endpoint_url).create_bucket(Bucket="b")
        put = signer(cluster).presign_put("42.json")
        with ResultsWriter(guard=AddressGuard()) as writer, pytest.raises(AddressNotAllowedError):
            writer.write(RESULT, put)
        with ResultsWriter(aistore_clusters={proxy(cluster): None}, guard=AddressGuard()) as writer:
            writer.write(RESULT, put)
        assert list(cluster.objects) == ["b/42.json"]


def test_revoked_token_is_replaced_within_the_attempt(cluster: AIStore) -> None:
    """It costs another request, and no retry."""
    with ResultsWriter(aistore_clusters={proxy(cluster): login(cluster)}, timeout=ONCE) as writer:
        writer.write(RESULT, signer(cluster).presign_put("1.json"))
        cluster.revoke_tokens()
        (receipt,) = writer.write(RESULT, signer(cluster).presign_put("2.json"))
    assert receipt.attempts == 1
    assert sorted(cluster.objects) == ["b/1.json", "b/2.json"]
    assert [status for _, _, status in uploads(cluster)] == [307, 200, 403, 307, 200]


def test_token_that_is_not_replaced_is_retried_later(cluster: AIStore) -> None:
    """The operator can replace it before the delivery is dead; `write` doesn't wait for that."""
    expired = cluster.issue_token("anna", lifetime=timedelta(hours=-1))
    with (
        ResultsWriter(aistore_clusters={proxy(cluster): expired}) as writer,
        pytest.raises(DeliveryError, match="token expired") as caught,
    ):
        writer.write(RESULT, signer(cluster).presign_put("42.json"))
    assert (caught.value.status, caught.value.retryable, caught.value.transient) == (403, True, False)
    assert "CALLBACK_SDK_AISTORE_CLUSTERS" in caught.value.hint
    assert expired not in str(caught.value)
    assert len(uploads(cluster)) == 1


def test_missing_permission_is_not_retried(cluster: AIStore) -> None:
    """Neither with another token, nor later."""
    source = aistore.Token("gustav", USERS["gustav"], cluster.authn_url)
    with (
        ResultsWriter(aistore_clusters={proxy(cluster): source}) as writer,
        pytest.raises(DeliveryError, match="insufficient permissions") as caught,
    ):
        writer.write(RESULT, signer(cluster).presign_put("42.json"))
    assert (caught.value.status, caught.value.retryable) == (403, False)
    assert len(uploads(cluster)) == 1


def test_without_a_token_the_error_names_the_option(cluster: AIStore) -> None:
    """For a cluster that isn't named, or that is named without a token."""
    put = signer(cluster).presign_put("42.json")
    for options in ({}, {"aistore_clusters": {proxy(cluster): None}}):
        with ResultsWriter(**options) as writer, pytest.raises(DeliveryError, match="token required") as caught:  # type: ignore[arg-type]
            writer.write(RESULT, put)
        assert "aistore_clusters" in caught.value.hint


@pytest.mark.parametrize("failure", ["raises", "fails to log in", "returns none", "returns a header"])
def test_source_without_a_token_is_retried(cluster: AIStore, failure: str) -> None:
    """Nothing is sent without a token, and the error has no credential."""

    def raises() -> str:
        raise RuntimeError(MARKER)

    sources: dict[str, Any] = {
        "raises": raises,
        "fails to log in": aistore.Token("anna", f"not {MARKER}", cluster.authn_url),
        "returns none": lambda: None,
        "returns a header": lambda: f"{MARKER}\r\nX-Other: 1",
    }
    with (
        ResultsWriter(aistore_clusters={proxy(cluster): sources[failure]}, timeout=ONCE) as writer,
        pytest.raises(DeliveryError, match="There is no token for") as caught,
    ):
        writer.write(RESULT, signer(cluster).presign_put("42.json"))
    assert caught.value.retryable
    assert MARKER not in str(caught.value) + repr(caught.value)
    assert uploads(cluster) == []


def test_token_is_sent_to_no_other_host(cluster: AIStore) -> None:
    """Only the very proxy gets it: not another port, and not a redirect that leads outside."""
    source = cluster.issue_token("anna")
    with ObjectStore() as store, ResultsWriter(aistore_clusters={proxy(cluster): source}) as writer:
        put = signer(cluster).presign_put("42.json")
        store.respond(200, times=2)
        writer.write(RESULT, put.url.replace(proxy(cluster), store.endpoint_url))
        cluster.respond(307, headers={"Location": f"{store.endpoint_url}/s3/b/42.json"})
        writer.write(RESULT, put)
        assert len(store.requests) == 2
        assert not any("authorization" in request.headers for request in store.requests)
        assert not any(source in str(dict(request.headers)) for request in store.requests)


@pytest.mark.parametrize("guard", [None, AddressGuard()], ids=["no guard", "guard"])
@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("http://169.254.169.254/s3/b/42.json", AddressNotAllowedError),
        ("http://[fe80::1]/s3/b/42.json", AddressNotAllowedError),
        ("http://127.0.0.2:9/v1/cluster", DeliveryError),
        ("/v1/cluster", DeliveryError),
        ("http://127.0.0.2:9/s3/b/43.json", DeliveryError),
    ],
)
def test_redirect_that_no_cluster_makes_is_not_followed(
    cluster: AIStore, location: str, kind: type[Exception], guard: AddressGuard | None
) -> None:
    """To the metadata service of a cloud, or to another object or API; with SSRF protection and without."""
    cluster.respond(307, headers={"Location": location})
    clusters = {proxy(cluster): cluster.issue_token("anna")}
    writer = ResultsWriter(aistore_clusters=clusters, guard=guard, timeout=ONCE)
    with writer, pytest.raises(kind):
        writer.write(RESULT, signer(cluster).presign_put("42.json"))
    assert len(uploads(cluster)) == 1


def test_path_outside_of_the_objects_gets_no_token(cluster: AIStore) -> None:
    """The administration of the cluster is protected by the guard, as any other private address."""
    with ResultsWriter(aistore_clusters={proxy(cluster): login(cluster)}, guard=AddressGuard()) as writer:
        with pytest.raises(AddressNotAllowedError):
            writer.write(RESULT, f"{proxy(cluster)}/v1/cluster", {"http": {"method": "PUT"}})
        with pytest.raises(InvalidTargetError, match="segment"):
            writer.write(RESULT, signer(cluster).presign_put("../../v1/cluster"))
    assert uploads(cluster) == []
    assert not any(request.method == "POST" for request in cluster.requests)


def test_node_is_not_reached_without_its_proxy(cluster: AIStore) -> None:
    """Although a connection to it is open: a URL of a user's choice needs what the guard allows."""
    with ResultsWriter(aistore_clusters={proxy(cluster): login(cluster)}, guard=AddressGuard()) as writer:
        put = signer(cluster).presign_put("42.json")
        writer.write(RESULT, put)
        for node in cluster.node_urls:
            with pytest.raises(AddressNotAllowedError):
                writer.write(RESULT, put.url.replace(proxy(cluster), node))
    assert len(uploads(cluster)) == 2


def test_user_may_bring_a_token(cluster: AIStore) -> None:
    """With `http`: it goes to the proxy only, and the redirect is followed; the cluster's own token isn't added."""
    token = cluster.issue_token("anna")
    param = {"run": 7, "http": {"method": "PUT", "headers": {"Authorization": f"Bearer {token}"}}}
    with ResultsWriter(aistore_clusters={proxy(cluster): "another"}, guard=AddressGuard()) as writer:
        (receipt,) = writer.write(RESULT, f"{cluster.endpoint_url}/b/42.json", param)
        with pytest.raises(DeliveryError, match="403"):
            writer.write(RESULT, f"{cluster.endpoint_url}/b/43.json", {"http": {"method": "PUT"}})
    assert receipt.target_kind == "http-put"
    assert json.loads(cluster.objects["b/42.json"])["callback_param"] == {"run": 7}
    assert [sent for _, sent, _ in uploads(cluster)] == [f"Bearer {token}", None, None]


def test_form_is_rejected_before_it_is_sent(cluster: AIStore) -> None:
    """AIStore answers 400 to it."""
    with (
        ResultsWriter(aistore_clusters={proxy(cluster): login(cluster)}) as writer,
        pytest.raises(UnsupportedFeatureError, match="AIStore, which doesn't support POST forms"),
    ):
        writer.write(RESULT, signer(cluster).presign_post("42.json"))
    assert uploads(cluster) == []
    assert not any(request.method == "POST" for request in cluster.requests)


def test_request_that_was_presigned_for_amazon_needs_a_token_too(seaweedfs: SeaweedFS) -> None:
    """AuthN asks for it first. The store behind doesn't get it, because it takes one kind of credentials only."""
    keys = {"aws_access_key_id": seaweedfs.access_key, "aws_secret_access_key": seaweedfs.secret_key}
    amazon = boto3.client("s3", region_name=seaweedfs.region, config=Config(s3={"addressing_style": "path"}), **keys)
    signed_for_amazon = S3Signer(seaweedfs.create_bucket(), client=amazon).presign_put("42.json")
    with AIStore(seaweedfs, presigned=True, users=USERS, addresses=ELSEWHERE) as cluster:
        put = aistore.through(signed_for_amazon, cluster.endpoint_url)
        without_token = ResultsWriter(aistore_clusters={proxy(cluster): None})
        with without_token, pytest.raises(DeliveryError, match="token required"):
            without_token.write(RESULT, put)
        with ResultsWriter(aistore_clusters={proxy(cluster): login(cluster)}) as writer:
            assert writer.write(RESULT, put)[0].status == 200


@pytest.mark.parametrize("given", [["http://aistore:8080"], "http://aistore:8080", {"aistore": None}, {"http://a": ""}])
def test_wrong_option_is_an_error(given: Any) -> None:
    """When the writer is created."""
    with pytest.raises(ConfigurationError):
        ResultsWriter(aistore_clusters=given)


def test_outbox_delivers_by_the_setting(cluster: AIStore, tmp_path: Path) -> None:
    """The file of the outbox has no token, and `outbox run` logs in."""
    path = tmp_path / "outbox.sqlite3"
    with ResultsWriter(timeout=ONCE) as writer, Outbox(path, writer=writer) as outbox:
        cluster.respond(503)
        assert outbox.write(RESULT, signer(cluster).presign_put("42.json")).pending
    setting = {"CALLBACK_SDK_AISTORE_CLUSTERS": f"{proxy(cluster)}={login_url(cluster)}"}
    run = run_here(["outbox", "run", str(path), "--until-empty"], environment=setting)
    assert (run.returncode, MARKER in run.stdout + run.stderr) == (0, False)
    assert list(cluster.objects) == ["b/42.json"]
    assert b"Bearer" not in path.read_bytes()


def test_service_delivers_by_the_setting(cluster: AIStore, tmp_path: Path) -> None:
    """It reaches the cluster, which no other option allows; a token that a user brings is encrypted in its database."""
    file = tmp_path / "token"
    file.write_text(cluster.issue_token("anna"))
    token = cluster.issue_token("anna")
    own = {"http": {"method": "PUT", "headers": {"Authorization": f"Bearer {token}"}}}
    callbacks = [signer(cluster).presign_put("1.json"), (f"{cluster.endpoint_url}/b/2.json", own)]
    options: dict[str, Any] = {"aistore_clusters": [f"{proxy(cluster)}={file}"], "allow_networks": ()}
    with LocalService("tests.integration.service_jobs:registry", **options) as service:
        with Client(service.url, token=service.token) as client:
            task = client.run_algorithm("sum", {"a": [1.0]}, callbacks=callbacks)
            task.wait(timeout=timedelta(minutes=1), progress=False)
            assert [receipt.status for receipt in task.receipts] == [200, 200]
            with pytest.raises(CallbackSDKError, match="AIStore, which doesn't support POST forms"):
                client.run_algorithm("sum", {"a": [1.0]}, callbacks=[signer(cluster).presign_post("3.json")])
        stored = b"".join(each.read_bytes() for each in service._folder.rglob("*") if each.is_file())
    assert sorted(cluster.objects) == ["b/1.json", "b/2.json"]
    assert len(stored) > 0
    assert token.encode() not in stored


@pytest.mark.parametrize("config", [ServiceConfig, WriterConfig])
def test_setting_names_clusters_and_tokens(config: Any) -> None:
    """A mistake names the variable, and doesn't show the value."""
    text = f"http://aistore:8080=http://anna:{MARKER}@authn:52001, https://other"
    found = config.from_environ({"CALLBACK_SDK_AISTORE_CLUSTERS": text})
    assert [url for url, _ in found.aistore_clusters] == ["http://aistore:8080", "https://other"]
    assert MARKER not in repr(found)
    with pytest.raises(ConfigurationError, match="CALLBACK_SDK_AISTORE_CLUSTERS") as caught:
        config.from_environ({"CALLBACK_SDK_AISTORE_CLUSTERS": f"aistore:8080={MARKER}"})
    assert MARKER not in str(caught.value)
