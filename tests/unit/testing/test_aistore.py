"""callback_sdk.testing.aistore; each test names what it has from the observed behaviour of AIStore 5.0."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from callback_sdk.errors import ConfigurationError
from callback_sdk.testing import AIStore

USERS = {"anna": "a password", "guest": "another", "root": "a third"}
ROLES = {"guest": "Guest", "root": "Admin"}
SMAP = "/v1/cluster?what=smap"


@pytest.fixture
def cluster() -> Iterator[AIStore]:
    """Run a cluster without authentication that has the bucket `b`."""
    with AIStore() as cluster:
        assert ask(cluster.proxy_urls[0], "/s3/b", "PUT").status == 200
        yield cluster


@pytest.fixture
def guarded() -> Iterator[AIStore]:
    """Run a cluster with authentication that has the bucket `b`."""
    with AIStore(users=USERS, roles=ROLES) as cluster:
        token = cluster.issue_token("anna")
        assert ask(cluster.proxy_urls[0], "/s3/b", "PUT", token=token).status == 200
        yield cluster


class Answer:
    """A response that was read."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.body, self.headers = response.status, response.read(), response.headers

    @property
    def location(self) -> bytes:
        return str(self.headers["Location"]).encode("latin-1")


def ask(
    origin: str, path: str, method: str = "GET", *, body: bytes = b"", token: str = "", headers: Any = None
) -> Answer:
    """Send one request, following nothing."""
    parts = urlsplit(origin)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    authorization = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request(method, path, body=body, headers={**authorization, **(headers or {})})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def follow(cluster: AIStore, path: str, method: str = "GET", **options: Any) -> Answer:
    """Send a request, and follow one redirect of a plain path to the node."""
    answer = ask(cluster.proxy_urls[0], path, method, **options)
    if answer.status != 307:
        return answer
    url = urlsplit(answer.location.decode())
    return ask(f"http://{url.netloc}", f"{quote(url.path)}?{url.query}", method, **options)


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("plain/k.json", b"plain/k.json"),
        ("\u00fc/1", "\u00fc/1".encode()),
        ("a;1", b"a;1"),
        ("a+b,c", b"a+b,c"),
        ("a?b", b"a%3Fb"),
        ("a#b", b"a%23b"),
        ("50%", b"50%25"),
        ("a b;\u00fc", b"a%20b;%C3%BC"),
        ("a\nb", b"a b"),
    ],
)
def test_location_of_a_redirect(cluster: AIStore, key: str, written: bytes) -> None:
    """Raw UTF-8 and a raw `;`; `?`, `#`, `%` and spaces are escaped."""
    answer = ask(cluster.proxy_urls[0], f"/s3/b/{quote(key)}", "PUT", body=b"x")
    origin, _, rest = answer.location.partition(b"/s3/b/")
    assert (answer.status, rest.partition(b"?")[0]) == (307, written)
    assert origin.decode() in cluster.node_urls


@pytest.mark.parametrize("problem", ["token expired", "token revoked", "invalid token", "token required"])
def test_token_that_is_refused(guarded: AIStore, problem: str) -> None:
    """S3 calls answer 403 with `wrapError` and the reason, HEAD 403 without a body, and the native API 401."""
    expired = timedelta(seconds=-1) if problem == "token expired" else timedelta(days=1)
    token = {"invalid token": "a.b.c", "token required": ""}.get(problem) or guarded.issue_token(
        "root", lifetime=expired
    )
    token = "" if problem == "token required" else token
    if problem == "token revoked":
        guarded.revoke_tokens()
    proxy = guarded.proxy_urls[0]
    answer = ask(proxy, "/s3/b/k", "PUT", body=b"x", token=token)
    assert answer.status == 403
    assert f"<Code>wrapError</Code><Message>{problem}</Message>".encode() in answer.body
    head, native = ask(proxy, "/s3/b", "HEAD", token=token), ask(proxy, SMAP, token=token)
    assert (head.status, head.body, native.status) == (403, b"", 401)
    assert json.loads(native.body)["message"] == problem


def test_permission_that_is_missing(guarded: AIStore) -> None:
    """403 as well, also of the native API."""
    token = guarded.issue_token("guest")
    assert ask(guarded.proxy_urls[0], "/s3/b/k", "PUT", body=b"x", token=token).status == 403
    assert ask(guarded.proxy_urls[0], "/s3/b", token=token).status == 200


@pytest.mark.parametrize(("user", "status"), [("guest", 403), ("anna", 403), ("root", 200)])
def test_map_of_the_cluster(guarded: AIStore, user: str, status: int) -> None:
    """It wants a permission that Guest and BucketOwner don't have."""
    assert ask(guarded.proxy_urls[0], SMAP, token=guarded.issue_token(user)).status == status


def test_node_of_the_map() -> None:
    """Redirects lead to the public network and to each of `pub_extra`."""
    with AIStore(nodes=1, proxies=2, multihomed=True) as cluster:
        smap = json.loads(ask(cluster.proxy_urls[1], SMAP).body)
        assert [node["public_net"]["direct_url"] for node in smap["pmap"].values()] == list(cluster.proxy_urls)
        (node,) = smap["tmap"].values()
        assert node["public_net"] == node["intra_control_net"] == node["intra_data_net"]
        public = [net["direct_url"] for net in (node["public_net"], *node["pub_extra"])]
        seen = {ask(cluster.proxy_urls[0], "/s3/b/k").location.partition(b"/s3")[0].decode() for _ in range(2)}
        assert seen == set(public)
        assert len(public) == 2


def test_target_that_joins() -> None:
    """It is redirected to at once."""
    with AIStore(nodes=0) as cluster:
        joined = cluster.add_node()
        assert ask(cluster.proxy_urls[0], "/s3/b/k").location.startswith(joined.encode())


def test_node_that_is_killed() -> None:
    """Its connections are refused, until the proxies notice."""
    with AIStore(nodes=2) as cluster:
        killed, other = cluster.node_urls
        cluster.kill_node(killed, noticed_after=2)
        seen = [ask(cluster.proxy_urls[0], f"/s3/b/{n}").location.decode() for n in range(40)]
        assert [url.startswith(killed) for url in seen].count(True) == 2
        assert seen[-1].startswith(other)
        assert killed not in ask(cluster.proxy_urls[0], SMAP).body.decode()
        with pytest.raises(ConnectionRefusedError):
            ask(killed, "/s3/b/k")


def test_request_that_a_target_gets_without_a_token(guarded: AIStore) -> None:
    """It is served when the proxy has let it pass, and only then."""
    answer = ask(guarded.proxy_urls[0], "/s3/b/k", "PUT", body=b"x", token=guarded.issue_token("anna"))
    url = urlsplit(answer.location.decode())
    assert ask(f"http://{url.netloc}", url.path, "PUT", body=b"x").status == 403
    assert ask(f"http://{url.netloc}", f"{url.path}?{url.query}", "PUT", body=b"x").status == 200
    assert guarded.objects == {"b/k": b"x"}


def test_token_of_users_of_boto3(guarded: AIStore) -> None:
    """A JWT as `X-Amz-Security-Token` counts, beside a signature of AWS."""
    headers = {"X-Amz-Security-Token": guarded.issue_token("anna"), "Authorization": "AWS4-HMAC-SHA256 x"}
    assert ask(guarded.proxy_urls[0], "/s3/b", headers=headers).status == 200


@pytest.mark.parametrize(("seconds", "status"), [(59, 400), (60, 200), (None, 200)])
def test_expires_in_of_a_log_in(guarded: AIStore, seconds: int | None, status: int) -> None:
    """Under one minute AuthN answers 400 and says why."""
    lifetime = {} if seconds is None else {"expires_in": seconds * 1_000_000_000}
    answer = ask(
        guarded.authn_url, "/v1/users/anna", "POST", body=json.dumps({"password": "a password"} | lifetime).encode()
    )
    assert answer.status == status
    assert b"1m0s" in answer.body or status == 200


def test_presigned_urls_without_authn(cluster: AIStore) -> None:
    """Any signature is taken."""
    query = "X-Amz-Signature=tampered&X-Amz-Date=20200101T000000Z&X-Amz-Expires=1"
    assert follow(cluster, f"/s3/b/k?{query}", "PUT", body=b"x").status == 200


def test_presigned_urls_with_authn(guarded: AIStore) -> None:
    """403, as there is no token."""
    answer = ask(guarded.proxy_urls[0], "/s3/b/k?X-Amz-Signature=00", "PUT", body=b"x")
    assert (answer.status, b"token required" in answer.body) == (403, True)


def test_presigned_post(cluster: AIStore) -> None:
    """400: there is none."""
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    assert ask(cluster.proxy_urls[0], "/s3/b", "POST", body=b"--b--", headers=form).status == 400


def test_if_none_match(cluster: AIStore) -> None:
    """It is ignored: 200 twice."""
    for body in (b"1", b"2"):
        assert follow(cluster, "/s3/b/k", "PUT", body=body, headers={"If-None-Match": "*"}).status == 200
    assert cluster.objects == {"b/k": b"2"}


def test_delete_of_a_missing_key(cluster: AIStore) -> None:
    """NoSuchKey."""
    answer = follow(cluster, "/s3/b/k", "DELETE")
    assert (answer.status, b"<Code>NoSuchKey</Code>" in answer.body) == (404, True)


def test_type_and_metadata(cluster: AIStore) -> None:
    """They are not kept."""
    kept = {"Content-Type": "text/x-special", "x-amz-meta-run": "42"}
    follow(cluster, "/s3/b/k", "PUT", body=b"x", headers=kept)
    answer = follow(cluster, "/s3/b/k")
    assert (answer.body, answer.headers["Content-Type"], answer.headers["x-amz-meta-run"]) == (
        b"x",
        "application/octet-stream",
        None,
    )


def test_upload_part_copy(cluster: AIStore) -> None:
    """It isn't there."""
    upload = follow(cluster, "/s3/b/k?uploads", "POST").body.partition(b"<UploadId>")[2].partition(b"<")[0].decode()
    path = f"/s3/b/k?partNumber=1&uploadId={upload}"
    assert follow(cluster, path, "PUT", headers={"x-amz-copy-source": "/b/k"}).status == 501


def test_reverse_proxy() -> None:
    """With the feature S3-Reverse-Proxy there is no redirect."""
    with AIStore(reverse_proxy=True) as cluster:
        ask(cluster.proxy_urls[0], "/s3/b", "PUT")
        assert ask(cluster.proxy_urls[0], "/s3/b/k", "PUT", body=b"x").status == 200
        assert cluster.objects == {"b/k": b"x"}


def test_nodes_at_other_addresses() -> None:
    """Ports are distinct, so that a request names its server."""
    with AIStore(nodes=4, addresses=["127.0.0.1", "127.0.0.1"]) as cluster:
        assert len({urlsplit(url).port for url in cluster.node_urls}) == 4


def test_list_of_keys(cluster: AIStore) -> None:
    """Keys are not URL-encoded, and the delimiter is a slash; a list has pages."""
    for key in ("a/1", "a/2", "\u00fc&;", "z"):
        follow(cluster, f"/s3/b/{quote(key)}", "PUT", body=b"x")
    text = ask(cluster.proxy_urls[0], "/s3/b?list-type=2&delimiter=%2F&encoding-type=url&max-keys=2").body.decode()
    assert "<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes><Contents><Key>z</Key>" in text
    token = text.partition("<NextContinuationToken>")[2].partition("<")[0]
    rest = ask(cluster.proxy_urls[0], f"/s3/b?list-type=2&delimiter=%2F&continuation-token={token}").body.decode()
    assert "<Key>\u00fc&amp;;</Key>" in rest
    assert "<IsTruncated>true</IsTruncated>" in text
    assert "<IsTruncated>false</IsTruncated>" in rest


@pytest.mark.parametrize("options", [{"presigned": True}, {"roles": {"anna": "Owner"}}])
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    """A presigned request needs a store behind, and a role must exist."""
    with pytest.raises(ConfigurationError):
        AIStore(**options)
