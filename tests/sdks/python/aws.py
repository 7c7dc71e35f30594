"""boto3, aioboto3, s3fs, minio, obstore and opendal: needs boto3 aioboto3 s3fs minio obstore opendal freezegun."""

from __future__ import annotations

import asyncio
import os
from copy import deepcopy
from datetime import datetime, timedelta, timezone
from typing import Any

import boto3
from botocore.config import Config
from forms import POSTS, PUTS
from freezegun import freeze_time
from recording import ACCESS_KEY, AWS, KEY, LIFE, SECRET_KEY, SESSION_TOKEN, TIME, TYPE, Rows, write


def client(session: Any = boto3, **options: Any) -> Any:
    config = Config(
        signature_version=options.pop("signature_version", "s3v4"),
        s3={"addressing_style": options.pop("style", "virtual")},
    )
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    return session.client("s3", **{"region_name": "eu-central-1", **keys, **options}, config=config)


def put(rows: Rows, s3: Any, form: str) -> None:
    parameters, asked = PUTS.get(form, PUTS["plain"])
    url = s3.generate_presigned_url("put_object", {"Bucket": "bucket", "Key": KEY, **parameters}, LIFE)
    rows.add("generate_presigned_url", form, url, asked=asked)


def post(rows: Rows, s3: Any, form: str, key: str = KEY) -> None:
    fields, conditions = POSTS.get(form, POSTS["plain"])
    made = s3.generate_presigned_post("bucket", key, deepcopy(fields), deepcopy(conditions), LIFE)
    rows.add("generate_presigned_post", form, made["url"], asked=fields, fields=made["fields"])


def of_boto3() -> Rows:
    rows = Rows("boto3", "boto3", store="s3", **AWS)
    minio = {"endpoint_url": "http://127.0.0.1:9000", "style": "path"}
    for form in PUTS:
        put(rows, client(), form)
    put(rows, client(aws_session_token=SESSION_TOKEN), "session token")
    put(rows, client(**minio), "path style")
    for form in POSTS:
        post(rows, client(), form)
    post(rows, client(aws_session_token=SESSION_TOKEN), "session token")
    post(rows, client(**minio), "${filename}", key="runs/${filename}")
    url = client().generate_presigned_url("get_object", {"Bucket": "bucket", "Key": KEY}, LIFE)
    rows.add("generate_presigned_url('get_object')", "plain", url, method="GET")
    return rows


def of_boto3_v2() -> Rows:
    rows = Rows("boto3", "boto3", store="s3", **AWS, signature=", Signature Version 2")
    old = {"signature_version": "s3", "region_name": "us-east-1"}
    for form in ("plain", "ContentType", "ACL", "Metadata", "Tagging"):
        put(rows, client(**old), form)
    put(rows, client(**old, aws_session_token=SESSION_TOKEN), "session token")
    for form in ("plain", "eq Content-Type, metadata"):
        post(rows, client(**old), form)
    return rows


async def of_aioboto3() -> Rows:
    import aioboto3

    rows = Rows("aioboto3", "aioboto3", store="s3", **AWS)
    async with client(aioboto3.Session()) as s3:
        for form in ("plain", "ContentType", "Metadata"):
            parameters, asked = PUTS[form]
            url = await s3.generate_presigned_url("put_object", {"Bucket": "bucket", "Key": KEY, **parameters}, LIFE)
            rows.add("generate_presigned_url", form, url, asked=asked)
        made = await s3.generate_presigned_post("bucket", KEY, None, [["content-length-range", 1, 1000]], LIFE)
        rows.add("generate_presigned_post", "content-length-range", made["url"], fields=made["fields"])
    return rows


def of_s3fs() -> Rows:
    import s3fs

    rows = Rows("s3fs", "s3fs", store="s3", **AWS)
    files = s3fs.S3FileSystem(key=ACCESS_KEY, secret=SECRET_KEY, client_kwargs={"region_name": "eu-central-1"})
    rows.add("sign(client_method='put_object')", "plain", files.sign(f"bucket/{KEY}", LIFE, client_method="put_object"))
    url = files.sign(f"bucket/{KEY}", LIFE, client_method="put_object", ContentType=TYPE)
    rows.add("sign(client_method='put_object')", "ContentType", url, asked={"content-type": TYPE})
    rows.add("sign", "plain", files.sign(f"bucket/{KEY}", LIFE), method="GET")
    return rows


def of_minio() -> Rows:
    from minio import Minio
    from minio.datatypes import PostPolicy

    rows = Rows("minio", "minio", store="s3", **AWS)
    store = Minio("minio.example.org", ACCESS_KEY, SECRET_KEY, region="us-east-1")
    life = timedelta(seconds=LIFE)
    rows.add("presigned_put_object", "plain", store.presigned_put_object("bucket", KEY, life))
    temporary = Minio("minio.example.org:9000", ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, region="us-east-1")
    rows.add("presigned_put_object", "session token", temporary.presigned_put_object("bucket", KEY, life))
    rows.add("presigned_get_object", "plain", store.presigned_get_object("bucket", KEY, life), method="GET")
    policy = PostPolicy("bucket", datetime.now(timezone.utc) + life)
    policy.add_starts_with_condition("key", "runs/")
    policy.add_equals_condition("Content-Type", TYPE)
    policy.add_content_length_range_condition(1, 1000)
    rows.add(
        "presigned_post_policy",
        "fields as it returns them, without key",
        "https://minio.example.org/bucket",
        fields=store.presigned_post_policy(policy),
    )
    own = {"key": KEY, "Content-Type": TYPE}
    rows.add(
        "presigned_post_policy",
        "with key and Content-Type",
        "https://minio.example.org/bucket",
        fields={**own, **store.presigned_post_policy(policy)},
        asked={"Content-Type": TYPE},
    )
    return rows


def of_obstore() -> Rows:
    import obstore
    from obstore.store import S3Store

    rows = Rows("obstore", "obstore", store="s3", **AWS, time=None)
    store = S3Store(
        "bucket", access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY, region="eu-central-1",
        virtual_hosted_style_request=True,
    )  # fmt: skip
    rows.add("sign", "plain", obstore.sign(store, "PUT", KEY, timedelta(seconds=LIFE)))
    return rows


async def of_opendal() -> Rows:
    import opendal

    rows = Rows("opendal", "opendal", store="s3", **AWS, time=None)
    keys = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY}
    store = opendal.AsyncOperator("s3", bucket="bucket", region="eu-central-1", **keys, disable_config_load="true")
    made = await store.presign_write(KEY, LIFE)
    rows.add("presign_write", "plain", made.url, headers=dict(made.headers))
    return rows


async def main() -> None:
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    native = [of_obstore(), await of_opendal()] if "NATIVE" in os.environ else []
    if native:
        write(*native)
        return
    with freeze_time(TIME, real_asyncio=True):
        write(of_boto3(), of_boto3_v2(), await of_aioboto3(), of_s3fs(), of_minio())


if __name__ == "__main__":
    asyncio.run(main())
