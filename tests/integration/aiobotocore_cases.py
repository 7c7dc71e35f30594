"""aiobotocore and s3fs against the fake AIStore: `test_aistore_aiobotocore.py` runs these where they are installed."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiobotocore.session
import pytest
import s3fs
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError, HTTPClientError

from callback_sdk import aistore
from callback_sdk.aistore import aio, requests
from callback_sdk.errors import RedirectHostError, RedirectLoopError, TooManyRedirectsError
from callback_sdk.testing import AIStore, ObjectStore
from tests.integration.test_aistore_keys import HOSTILE

USERS = {"anna": "a password"}
ELSEWHERE = ("127.0.0.2", "127.0.0.3")
OPTIONS: dict[str, Any] = {
    "region_name": "us-east-1",
    "aws_access_key_id": "id",
    "aws_secret_access_key": "key",
}


@pytest.fixture(params=["open", "AuthN"])
def cluster(request: pytest.FixtureRequest) -> Iterator[AIStore]:
    """Run a cluster whose nodes have other addresses than the proxy; its users may not see the map."""
    with AIStore(users=USERS if request.param == "AuthN" else None, addresses=ELSEWHERE) as cluster:
        yield cluster


def token(cluster: AIStore) -> aistore.Token | None:
    return aistore.Token("anna", USERS["anna"], cluster.authn_url) if cluster._authn.enabled else None


@asynccontextmanager
async def plain(cluster: AIStore, **options: Any) -> AsyncIterator[Any]:
    """Make a client as anybody would; AIStore documents its token as that of a session."""
    source = token(cluster)
    given = {"endpoint_url": cluster.endpoint_url, "aws_session_token": source and source(), **OPTIONS, **options}
    config = AioConfig(s3={"addressing_style": "path"}, proxies={})
    async with aiobotocore.session.get_session().create_client("s3", config=config, **given) as s3:
        yield s3


@asynccontextmanager
async def by_session(cluster: AIStore) -> AsyncIterator[Any]:
    async with aio.session(cluster.endpoint_url, token=token(cluster)).create_client("s3") as s3:
        yield s3


@asynccontextmanager
async def by_follow_redirects(cluster: AIStore) -> AsyncIterator[Any]:
    async with plain(cluster) as s3:
        yield aistore.follow_redirects(s3)


@asynccontextmanager
async def by_use_token(cluster: AIStore) -> AsyncIterator[Any]:
    async with plain(cluster, aws_session_token=None) as s3:
        source = token(cluster)
        yield aistore.follow_redirects(s3 if source is None else aistore.use_token(s3, source))


@asynccontextmanager
async def by_patch(cluster: AIStore) -> AsyncIterator[Any]:
    from callback_sdk.aistore import patch

    async with plain(cluster) as s3:
        patch.patch()
        try:
            yield s3
        finally:
            patch.unpatch()


WAYS = [by_session, by_follow_redirects, by_use_token, by_patch]
each_way = pytest.mark.parametrize("way", WAYS)
Way = Callable[[AIStore], Any]


@each_way
def test_all_of_s3_works(cluster: AIStore, way: Way) -> None:
    """Objects, parts, copies, lists and deletions."""

    async def run() -> None:
        async with way(cluster) as s3:
            await exercise(s3)

    asyncio.run(run())
    assert {request.status for request in cluster.requests if request.path.startswith("/s3")} >= {200, 307}
    assert cluster.objects == {}


async def exercise(s3: Any) -> None:
    await s3.create_bucket(Bucket="b")
    assert [item["Name"] for item in (await s3.list_buckets())["Buckets"]] == ["b"]
    half = io.BytesIO(b"first half, second half")
    half.seek(12)
    bodies = {"bytes": b"0123456789", "file": io.BytesIO(b"file"), "half": half, "none": b""}
    for key, body in bodies.items():
        await s3.put_object(Bucket="b", Key=key, Body=body)
    found = {key: await read(s3, key) for key in bodies}
    assert found == {"bytes": b"0123456789", "file": b"file", "half": b"second half", "none": b""}
    assert (await s3.head_object(Bucket="b", Key="bytes"))["ContentLength"] == 10
    part = await s3.get_object(Bucket="b", Key="bytes", Range="bytes=2-4")
    assert await part["Body"].read() == b"234"
    place = {"Bucket": "b", "Key": "parts"}
    place["UploadId"] = (await s3.create_multipart_upload(**place))["UploadId"]
    tags = [(await s3.upload_part(**place, PartNumber=n, Body=b"%d" % n * 10))["ETag"] for n in (1, 2)]
    parts = [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(tags, 1)]
    await s3.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})
    assert await read(s3, "parts") == b"1" * 10 + b"2" * 10
    await s3.copy_object(Bucket="b", Key="copy", CopySource={"Bucket": "b", "Key": "bytes"})
    assert await read(s3, "copy") == b"0123456789"
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="b", PaginationConfig={"PageSize": 2})
    keys = [item["Key"] async for page in pages for item in page["Contents"]]
    assert keys == sorted({*bodies, "parts", "copy"})
    await s3.delete_object(Bucket="b", Key="copy")
    with pytest.raises(ClientError, match="NoSuchKey"):
        await read(s3, "copy")
    await s3.delete_objects(Bucket="b", Delete={"Objects": [{"Key": key} for key in keys]})
    await s3.delete_bucket(Bucket="b")


async def read(s3: Any, key: str) -> bytes:
    async with (await s3.get_object(Bucket="b", Key=key))["Body"] as body:
        data: bytes = await body.read()
        return data


@each_way
def test_each_key_is_stored_under_its_own_name(cluster: AIStore, way: Way) -> None:
    """aiobotocore decodes headers as UTF-8, and botocore as Latin-1. aiohttp rejects those with a null character."""
    keys = [key for key in HOSTILE if "\0" not in key]
    assert len(keys) == len(HOSTILE) - 1

    async def run() -> None:
        async with way(cluster) as s3:
            await s3.create_bucket(Bucket="b")
            for number, key in enumerate(keys):
                await s3.put_object(Bucket="b", Key=key, Body=str(number).encode())
            with pytest.raises(HTTPClientError, match="Invalid HTTP header"):
                await s3.put_object(Bucket="b", Key="a\0b", Body=b"x")

    asyncio.run(run())
    assert cluster.objects == {f"b/{key}": str(number).encode() for number, key in enumerate(keys)}


@pytest.mark.parametrize("how", ["session", "patch"])
def test_s3fs_stores_lists_and_reads(cluster: AIStore, how: str) -> None:
    """With a session, and as any library that uses s3fs would, with the patch."""
    from callback_sdk.aistore import patch

    source = token(cluster)
    aistore.client(cluster.endpoint_url, token=source).create_bucket(Bucket="b")
    if how == "session":
        files = s3fs.S3FileSystem(session=aio.session(cluster.endpoint_url, token=source), skip_instance_cache=True)
    else:
        patch.patch()
        options = {"key": "id", "secret": "key", "token": source and source(), "endpoint_url": cluster.endpoint_url}
        files = s3fs.S3FileSystem(**options, skip_instance_cache=True)
    try:
        files.pipe("b/one", b"1")
        with files.open("b/folder/two", "wb", block_size=5 * 2**20) as file:
            file.write(b"2" * (6 * 2**20))
        assert files.cat("b/one") == b"1"
        assert files.info("b/folder/two")["size"] == 6 * 2**20
        with files.open("b/folder/two", "rb") as file:
            file.seek(2**20)
            assert file.read(3) == b"222"
        assert files.ls("b") == ["b/folder", "b/one"]
        files.cp("b/one", "b/copy")
        assert sorted(files.find("b")) == ["b/copy", "b/folder/two", "b/one"]
        files.rm("b/copy")
        assert not files.exists("b/copy")
    finally:
        patch.unpatch()


@pytest.mark.parametrize("role", ["Admin", "BucketOwner"])
def test_concurrent_requests_share_map_and_token(role: str) -> None:
    """More at once than there are threads: none waits for another one, and one log-in and one map are enough."""
    with AIStore(users=USERS, roles={"anna": role}, addresses=ELSEWHERE) as cluster:

        async def run() -> None:
            async with by_session(cluster) as s3:
                await s3.create_bucket(Bucket="b")
                await asyncio.gather(*(s3.put_object(Bucket="b", Key=f"k{n}", Body=b"x") for n in range(100)))

        asyncio.run(asyncio.wait_for(run(), 60))
        assert len(cluster.objects) == 100
        paths = [request.path for request in cluster.requests]
        assert paths.count("/v1/users/anna") == 1
        assert paths.count("/v1/cluster?what=smap") == 1


def test_nothing_blocks_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens, the map and pauses are another thread's, while the loop goes on."""
    loops, called = [threading.get_ident()], []

    def observed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def observe(*arguments: Any) -> Any:
            called.append(name)
            assert threading.get_ident() not in loops
            return call(*arguments)

        return observe

    monkeypatch.setattr(requests.time, "sleep", observed("sleep", requests.time.sleep))
    monkeypatch.setattr(requests.RedirectFollower, "_ask", observed("ask", requests.RedirectFollower._ask))
    with AIStore(users=USERS, roles={"anna": "Admin"}, addresses=ELSEWHERE) as cluster:
        text = cluster.issue_token("anna")

        async def run() -> None:
            session = aio.session(cluster.endpoint_url, token=observed("token", lambda: text))
            config = AioConfig(retries={"total_max_attempts": 1})
            async with session.create_client("s3", config=config) as s3:
                await s3.create_bucket(Bucket="b")
                for number in range(12):
                    await s3.put_object(Bucket="b", Key=f"k{number}", Body=b"x")
                cluster.kill_node(cluster.node_urls[0], noticed_after=2)
                for number in range(12):
                    await s3.put_object(Bucket="b", Key=f"k{number}", Body=b"y")

        asyncio.run(run())
        assert set(cluster.objects.values()) == {b"y"}
    assert set(called) == {"sleep", "ask", "token"}


def test_revoked_token_is_replaced() -> None:
    """Also in the middle of an upload of a file."""
    with AIStore(users=USERS) as cluster:

        async def run() -> None:
            async with by_session(cluster) as s3:
                await s3.create_bucket(Bucket="b")
                cluster.revoke_tokens()
                await s3.put_object(Bucket="b", Key="k", Body=io.BytesIO(b"0123"))
                cluster.revoke_tokens()
                await s3.head_object(Bucket="b", Key="k")

        asyncio.run(run())
        assert cluster.objects == {"b/k": b"0123"}


@pytest.mark.parametrize(
    ("locations", "kind"),
    [
        (["http://127.0.0.2:9/x"], RedirectHostError),
        (["/s3/b/1", "/s3/b/2", "/s3/b/3", "/s3/b/4"], TooManyRedirectsError),
        (["/s3/b/1?a=1", "/s3/b/k?a=2"], RedirectLoopError),
    ],
)
@pytest.mark.parametrize("way", [by_follow_redirects, by_patch])
def test_redirects_are_checked(locations: list[str], kind: type[Exception], way: Way) -> None:
    """By the same rules as for boto3, and not by aiohttp."""
    with ObjectStore() as store, AIStore() as cluster:
        for location in locations:
            store.respond(307, headers={"Location": location})

        async def run() -> None:
            async with plain(cluster, endpoint_url=f"{store.endpoint_url}/s3") as s3:
                await aistore.follow_redirects(s3, max_redirects=3).get_object(Bucket="b", Key="k")

        with pytest.raises(kind):
            asyncio.run(run())
        assert len([request for request in store.requests if "smap" not in request.path]) == len(locations)


def test_clients_of_other_services_are_not_changed() -> None:
    """A session is for S3 in the cluster, and for the rest as it is."""

    async def run() -> None:
        async with aio.session("http://aistore:8080").create_client("sqs", **OPTIONS) as sqs:
            assert "amazonaws" in sqs.meta.endpoint_url
            with pytest.raises(Exception, match="not an S3 client"):
                aistore.follow_redirects(sqs)

    asyncio.run(run())


def test_without_help_aiohttp_follows_to_any_host() -> None:
    """The reason for returning redirects: a session token is disclosed otherwise."""
    with ObjectStore() as store, ObjectStore() as other, AIStore() as cluster:
        store.respond(307, headers={"Location": f"{other.endpoint_url}/x"})

        async def run() -> None:
            async with plain(cluster, endpoint_url=f"{store.endpoint_url}/s3", aws_session_token="t0ken") as s3:
                with pytest.raises(ClientError):
                    await s3.get_object(Bucket="b", Key="k")

        asyncio.run(run())
        assert other.requests[0].headers["x-amz-security-token"] == "t0ken"
        elsewhere = other.endpoint_url.replace("127.0.0.1", "localhost")
        store.respond(307, headers={"Location": f"{elsewhere}/s3/b/k"})

        async def run_ours() -> None:
            async with plain(cluster, endpoint_url=f"{store.endpoint_url}/s3", aws_session_token="t0ken") as s3:
                with pytest.raises(RedirectHostError):
                    await aistore.follow_redirects(s3).get_object(Bucket="b", Key="k")

        asyncio.run(run_ours())
        assert len(other.requests) == 1
