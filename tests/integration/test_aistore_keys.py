"""Keys of any characters in AIStore: each object is stored under its own key, by client, patch and results writer.

With AuthN as without it.

`make keys` runs it with 500 more keys, or AISTORE_KEYS=500.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from callback_sdk import JobResult, ResultsWriter, S3Signer, aistore
from callback_sdk.errors import InvalidTargetError
from callback_sdk.testing import AIStore
from callback_sdk.testing.aistore.responses import xml_text

ALPHABET = "ab/.;?#%+ &=,:@~!*'()[]{}|\\^`\"<>\t\n\r\x00\x01\x1b\x7f\u00c5\u00fc\u0085\u2026\u65e5\U0001f600"
HOSTILE = (
    *("\u00fc/1", "u\u0308/1", "\u00c3\u00bc/1", "\u2026\u00c5/\u65e5\u672c\U0001f600", "a;1", "a;2", "a", "a;"),
    *("a?b", "a#b", "a%2Fb", "a/b", "a%b", "a%25b", "a+b", "a b", "a%20b", "a\nb", "a\rb", "a  b", "a\r\nb"),
    *("a//b", "/a", "a/", "./a", "a/../b", "../../b", "..", "a\tb", "\x01\x00\x7f", "%C3%BC/1", "\x85", "?;#"),
    "\u65e5" * 341 + "x",
)


def random_keys(count: int) -> set[str]:
    """Return keys of up to 1,024 bytes; the same ones each time."""
    source = random.Random(7)
    lengths = (source.choice([1, 2, 3, 8, 40, 256]) for _ in range(count))
    return {"".join(source.choices(ALPHABET, k=length)) for length in lengths}


KEYS = sorted({*HOSTILE, *random_keys(int(os.environ.get("AISTORE_KEYS", "8")))})
SIGNABLE = [key for key in KEYS if not key.startswith("/")]
"""Keys that `S3Signer` signs: a slash at the beginning is nearly always a mistake."""


USERS = {"anna": "a password"}


@pytest.fixture(params=["open", "AuthN"])
def cluster(request: pytest.FixtureRequest) -> Iterator[AIStore]:
    """Run a cluster that has the bucket `b`."""
    users, addresses = (USERS, ("127.0.0.2",)) if request.param == "AuthN" else (None, ("127.0.0.1",))
    with AIStore(users=users, addresses=addresses) as cluster:
        aistore.client(cluster.endpoint_url, token=token(cluster)).create_bucket(Bucket="b")
        yield cluster


def token(cluster: AIStore) -> aistore.Token | None:
    return aistore.Token("anna", USERS["anna"], cluster.authn_url) if cluster._authn.enabled else None


def plain(cluster: AIStore, session_token: str | None = None) -> Any:
    """Return a client as anybody would make it; AIStore documents its token as that of a session."""
    return boto3.client(
        "s3",
        endpoint_url=cluster.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key="key",
        aws_session_token=session_token,
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )


def exercise(cluster: AIStore, s3: Any) -> None:
    """Put all keys, and read, list, copy and delete each."""
    bodies = {key: str(number).encode() for number, key in enumerate(KEYS)}
    for key, body in bodies.items():
        s3.put_object(Bucket="b", Key=key, Body=body)
    assert cluster.objects == {f"b/{key}": body for key, body in bodies.items()}
    assert {key: s3.get_object(Bucket="b", Key=key)["Body"].read() for key in KEYS} == bodies
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="b", PaginationConfig={"PageSize": 20})
    # AIStore lists characters that XML doesn't have as U+FFFD.
    unlisted = [key for key in KEYS if "\ufffd" in xml_text(key)]
    listed = [item["Key"] for page in pages for item in page["Contents"]]
    assert sorted(key for key in listed if "\ufffd" not in key) == sorted(set(KEYS) - set(unlisted))
    assert len(listed) == len(KEYS)
    for key in KEYS:
        s3.copy_object(Bucket="b", Key=f"{key[:200]};copy", CopySource={"Bucket": "b", "Key": key})
        assert s3.get_object(Bucket="b", Key=f"{key[:200]};copy")["Body"].read() == bodies[key]
        s3.delete_object(Bucket="b", Key=f"{key[:200]};copy")
        s3.delete_object(Bucket="b", Key=key)
        assert f"b/{key}" not in cluster.objects
    assert cluster.objects == {}


def test_client_stores_each_key_under_its_own_name(cluster: AIStore) -> None:
    """No two keys become one, and none another one."""
    exercise(cluster, aistore.client(cluster.endpoint_url, token=token(cluster)))


def test_patched_client_stores_each_key_under_its_own_name(cluster: AIStore) -> None:
    """With the patch as with a client of aistore.client."""
    from callback_sdk.aistore import patch

    patch.patch()
    try:
        source = token(cluster)
        exercise(cluster, plain(cluster, source and source()))
    finally:
        patch.unpatch()


def test_writer_stores_each_key_under_its_own_name(cluster: AIStore) -> None:
    """A presigned PUT is redirected to the node, and the document has the job that was written."""
    signer = S3Signer("b", client=plain(cluster))
    options: dict[str, Any] = {"aistore_clusters": {cluster.proxy_urls[0]: token(cluster)}}
    # A token is not sent with a path that a server in front of the cluster may take for that of another API.
    keys = [key for key in SIGNABLE if ".." not in key.split("/")]
    assert len(keys) > len(KEYS) - 12
    with ResultsWriter(**options) as writer:
        for number, key in enumerate(keys):
            writer.write(JobResult(job_id=str(number), success=True, results={}), signer.presign_put(key))
        for key in set(SIGNABLE) - set(keys):
            with pytest.raises(InvalidTargetError, match="segment"):
                writer.write(JobResult(job_id=key, success=True), signer.presign_put(key))
    assert sorted(cluster.objects) == [f"b/{key}" for key in keys]
    for number, key in enumerate(keys):
        assert f'"job_id":"{number}"'.encode() in cluster.objects[f"b/{key}"]


def test_writer_that_knows_the_host_only_stores_each_key_too() -> None:
    """Without AuthN a storage endpoint is sufficient, if all nodes are on its host."""
    with AIStore() as cluster, ResultsWriter(storage_endpoints=[cluster.endpoint_url]) as writer:
        aistore.client(cluster.endpoint_url).create_bucket(Bucket="b")
        signer = S3Signer("b", client=plain(cluster))
        for key in SIGNABLE:
            writer.write(JobResult(job_id="42", success=True), signer.presign_put(key))
        assert sorted(cluster.objects) == [f"b/{key}" for key in SIGNABLE]
