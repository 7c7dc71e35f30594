"""S3Signer is held equal to botocore's own signer."""

from __future__ import annotations

from datetime import datetime, timedelta

import boto3
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from callback_sdk import S3Signer
from tests.clocks import clock
from tests.property.strategies import header_values, keys, lifetimes, metadata, moments

CONFIG = {"signature_version": "s3v4"}
PLACES = {
    "virtual": ("results-bucket", {"region_name": "eu-central-1"}, "virtual"),
    "us-east-1": ("results-bucket", {"region_name": "us-east-1"}, "virtual"),
    "dots": ("results.bucket.example", {"region_name": "eu-west-1"}, "virtual"),
    "path": ("results-bucket", {"region_name": "ap-south-1"}, "path"),
    "china": ("results-bucket", {"region_name": "cn-north-1"}, "virtual"),
    "minio": ("results-bucket", {"region_name": "us-east-1", "endpoint_url": "http://127.0.0.1:9000"}, "path"),
    "session": ("results-bucket", {"region_name": "eu-central-1", "aws_session_token": "FwoG+/=="}, "virtual"),
}


def client_for(place: str) -> tuple[str, object]:
    bucket, options, style = PLACES[place]
    s3 = {"addressing_style": style, "us_east_1_regional_endpoint": "regional"}
    options = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "wJalr/XUtn+FEMI", **options}
    return bucket, boto3.client("s3", config=Config(**CONFIG, s3=s3), **options)


@pytest.fixture(scope="module", params=PLACES)
def pair(request: pytest.FixtureRequest) -> tuple[S3Signer, object]:
    """Give a signer and the botocore client that it must equal."""
    bucket, client = client_for(request.param)
    return S3Signer(bucket, client=client), client


@given(
    key=keys,
    now=moments,
    expires=lifetimes,
    content_type=st.none() | header_values,
    acl=st.none() | st.sampled_from(["private", "bucket-owner-full-control"]),
    data=metadata,
    once=st.booleans(),
)
def test_put_urls_equal_botocores(
    pair: tuple[S3Signer, object],
    key: str,
    now: datetime,
    expires: timedelta,
    content_type: str | None,
    acl: str | None,
    data: dict[str, str],
    once: bool,
) -> None:
    """A PUT URL is botocore's, byte for byte, for any key, header, life and moment."""
    signer, client = pair
    params = {"ContentType": content_type, "ACL": acl, "Metadata": data or None, "IfNoneMatch": "*" if once else None}
    params = {name: value for name, value in params.items() if value is not None}
    with clock(signer, now):
        ours = signer.presign_put(
            key, expires=expires, content_type=content_type, acl=acl, metadata=data, if_none_match=once
        )
        theirs = client.generate_presigned_url(  # type: ignore[attr-defined]
            "put_object",
            Params={"Bucket": signer.bucket, "Key": key, **params},
            ExpiresIn=int(expires.total_seconds()),
        )
    assert ours.url == theirs
    assert ours.expires_at == now.replace(microsecond=0) + expires


@given(
    key=keys | st.just("runs/${filename}"),
    now=moments,
    expires=lifetimes,
    fields=st.fixed_dictionaries(
        {},
        optional={
            # A header of the file's part, which has no line breaks.
            "Content-Type": header_values,
            **dict.fromkeys(
                ("acl", "x-amz-meta-a", "success_action_status"),
                st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
            ),
        },
    ),
    largest=st.none() | st.integers(0, 10**9),
)
def test_post_policies_equal_botocores(
    pair: tuple[S3Signer, object],
    key: str,
    now: datetime,
    expires: timedelta,
    fields: dict[str, str],
    largest: int | None,
) -> None:
    """A form is botocore's, field for field and in the same order, with a condition for each field."""
    signer, client = pair
    conditions: list[object] = [{name: value} for name, value in fields.items()]
    if largest is not None:
        conditions.append(["content-length-range", 0, largest])
    with clock(signer, now):
        ours = signer.presign_post(key, expires=expires, fields=fields, max_bytes=largest)
        theirs = client.generate_presigned_post(  # type: ignore[attr-defined]
            signer.bucket,
            key,
            Fields=fields,
            Conditions=conditions,
            ExpiresIn=int(expires.total_seconds()),
        )
    assert ours.url == theirs["url"]
    assert list(ours.fields.items()) == list(theirs["fields"].items())


@given(many=st.lists(keys | st.just("runs/${filename}"), max_size=5), now=moments, expires=lifetimes, data=metadata)
def test_many_equal_one_by_one(
    pair: tuple[S3Signer, object], many: list[str], now: datetime, expires: timedelta, data: dict[str, str]
) -> None:
    """Signing many at once gives the same URLs as signing one by one."""
    signer, _ = pair
    with clock(signer, now):
        puts = list(signer.presign_put_many(many, expires=expires, metadata=data))
        posts = list(signer.presign_post_many(many, expires=expires, metadata=data, max_bytes=7))
        assert puts == [signer.presign_put(key, expires=expires, metadata=data) for key in many]
        assert posts == [signer.presign_post(key, expires=expires, metadata=data, max_bytes=7) for key in many]
