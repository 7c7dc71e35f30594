"""Where a signer signs for: its URLs are those of botocore's own client, in every partition and with every setting."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.loaders import Loader

from callback_sdk import S3Signer, check_target
from callback_sdk.errors import SigningError
from tests.clocks import clock

NOW = datetime(2030, 1, 31, 12, tzinfo=timezone.utc)

REGIONS = {
    partition["id"]: next(name for name in partition["regions"] if not name.endswith("-global"))
    for partition in Loader().load_data("partitions")["partitions"]
}

VPC = "vpce-0123456789abcdef0-abcdefgh.s3.eu-central-1.vpce.amazonaws.com"


def client(region: str, *, style: str = "virtual", s3: dict[str, Any] | None = None, **options: Any) -> Any:
    """Return a client that signs for regional hosts with Signature Version 4, as the signer does."""
    arguments = {name: options.pop(name) for name in ("endpoint_url", "use_ssl") if name in options}
    settings = {"addressing_style": style, "us_east_1_regional_endpoint": "regional", **(s3 or {})}
    return boto3.client(
        "s3",
        region_name=region,
        config=Config(signature_version="s3v4", s3=settings, **options),
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="wJalr/XUtn+FEMI",
        **arguments,
    )


def assert_equal(bucket: str, theirs: Any, *, posts: bool = True) -> str:
    """Make sure that the signer with a client signs as the client itself; return the URL without its query."""
    signer = S3Signer(bucket, client=theirs)
    with clock(signer, NOW):
        put = signer.presign_put("runs/4 2.json", content_type="application/json")
        params = {"Bucket": bucket, "Key": "runs/4 2.json", "ContentType": "application/json"}
        assert put.url == theirs.generate_presigned_url("put_object", Params=params)
        if posts:
            post = signer.presign_post("runs/42.json")
            form = theirs.generate_presigned_post(bucket, "runs/42.json")
            assert (post.url, dict(post.fields)) == (form["url"], form["fields"])
    return put.url.partition("?")[0]


EVERYWHERE: dict[str, dict[str, Any]] = {
    "plain": {},
    "dualstack": {"use_dualstack_endpoint": True},
    "fips": {"use_fips_endpoint": True},
    "fips-dualstack": {"use_fips_endpoint": True, "use_dualstack_endpoint": True},
}

CASES = [
    pytest.param(region, options, id=f"{partition}-{name}")
    for partition, region in REGIONS.items()
    for name, options in EVERYWHERE.items()
    # botocore makes no clients for FIPS in China, nor for dual-stack endpoints in isolated regions.
    if not ("fips" in name and partition == "aws-cn") and not ("dualstack" in name and partition.startswith("aws-iso"))
] + [
    pytest.param("us-east-1", {"style": "path"}, id="path"),
    pytest.param("us-east-1", {"use_ssl": False}, id="http"),
    pytest.param("cn-north-1", {"s3": {"use_dualstack_endpoint": True}}, id="dualstack-s3"),
]


@pytest.mark.parametrize(("region", "options"), CASES)
def test_partition_is_signed_for_as_botocore_does(region: str, options: dict[str, Any]) -> None:
    """PUT and POST equal its own, in each partition with each kind of endpoint."""
    theirs = client(region, **options)
    assert_equal("results", theirs)
    put = S3Signer("results", client=theirs).presign_put("k")
    assert check_target(put).kind == "s3-put"


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({"s3": {"use_accelerate_endpoint": True}}, "https://results.s3-accelerate.amazonaws.com/"),
        (
            {"s3": {"use_accelerate_endpoint": True, "use_dualstack_endpoint": True}},
            "https://results.s3-accelerate.dualstack.amazonaws.com/",
        ),
        ({"endpoint_url": "https://s3-accelerate.amazonaws.com"}, "https://results.s3-accelerate.amazonaws.com/"),
        (
            {"endpoint_url": "https://s3.dualstack.eu-central-1.amazonaws.com", "style": "auto"},
            "https://s3.dualstack.eu-central-1.amazonaws.com/results/",
        ),
        ({"endpoint_url": f"https://bucket.{VPC}", "style": "auto"}, f"https://bucket.{VPC}/results/"),
        ({"endpoint_url": f"https://bucket.{VPC}"}, f"https://results.bucket.{VPC}/"),
        (
            {"endpoint_url": "https://minio.example.org:9000", "style": "auto"},
            "https://minio.example.org:9000/results/",
        ),
        ({"endpoint_url": "http://minio.example.org"}, "http://results.minio.example.org/"),
    ],
)
def test_endpoint_of_a_client_is_kept(options: dict[str, Any], url: str) -> None:
    """Also one below Amazon's domains: a worker in a VPC may reach only its interface endpoint."""
    assert assert_equal("results", client("eu-central-1", **options)) == f"{url}runs/4%202.json"


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "cn-north-1"])
def test_client_with_default_settings_is_signed_for_at_the_regional_host(region: str) -> None:
    """botocore itself presigns for its global endpoint then, which redirects to the region."""
    theirs = boto3.client("s3", region_name=region, aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="wJalr")
    url = S3Signer("results", client=theirs).presign_put("k").url
    assert url.startswith(f"https://results.s3.{region}.amazonaws.com")


@pytest.mark.parametrize("given", ["argument", "environment", "client"])
def test_endpoint_with_a_password_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be a part of each URL, which are shown without their queries only."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalr/XUtn+FEMI")
    endpoint = "https://user:s3cretT0ken@minio.example.org"
    options: dict[str, Any] = {"region": "us-east-1"}
    if given == "argument":
        options["endpoint_url"] = endpoint
    elif given == "environment":
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    else:
        options = {"client": client("us-east-1", endpoint_url=endpoint)}
    with pytest.raises(SigningError, match="The endpoint has a user or a password") as caught:
        S3Signer("results-bucket", **options)
    assert caught.value.__cause__ is None


def test_endpoint_of_a_profile_is_kept(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the default profile has, which the signer itself would use."""
    config = tmp_path / "config"
    config.write_text(
        "[default]\nendpoint_url = https://other.example.org\nuse_fips_endpoint = true\n"
        "[profile store]\nendpoint_url = https://store.example.org\n[profile plain]\nregion = eu-west-1\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    keys = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "wJalr"}

    def host(profile: str) -> str:
        theirs = boto3.Session(profile_name=profile, region_name="eu-west-1").client("s3", **keys)
        return S3Signer("results", client=theirs).presign_put("k").url.split("/")[2]

    assert host("store") == "store.example.org"
    assert host("plain").endswith("s3.eu-west-1.amazonaws.com")
    assert host("default") == "other.example.org"


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
@pytest.mark.parametrize(
    ("bucket", "host"),
    [
        ("arn:{}:s3:{}:111122223333:accesspoint/point", "point-111122223333.s3-accesspoint."),
        ("arn:{}:s3-object-lambda:{}:111122223333:accesspoint/point", "point-111122223333.s3-object-lambda."),
        (
            "arn:{}:s3-outposts:{}:111122223333:outpost/op-01234567890123456/accesspoint/point",
            "point-111122223333.op-01234567890123456.s3-outposts.",
        ),
    ],
    ids=["s3", "s3-object-lambda", "s3-outposts"],
)
def test_access_point_is_signed_for_as_botocore_does(partition: str, bucket: str, host: str) -> None:
    """With the service and the region of its ARN in the scope; Object Lambda forwards uploads to the bucket."""
    region = REGIONS[partition]
    theirs = client(region)
    url = assert_equal(bucket.format(partition, region), theirs, posts=False)
    assert url.startswith(f"https://{host}{region}.")


def test_access_point_behind_a_vpc_endpoint_is_signed_for_as_botocore_does() -> None:
    """The endpoint's first label says that it is for access points."""
    theirs = client("eu-central-1", style="auto", endpoint_url=f"https://accesspoint.{VPC}")
    url = assert_equal("arn:aws:s3:eu-central-1:111122223333:accesspoint/point", theirs, posts=False)
    assert url.startswith(f"https://point-111122223333.accesspoint.{VPC}/")


def test_alias_of_an_access_point_is_signed_for_as_a_bucket() -> None:
    """Amazon accepts it wherever a bucket's name is accepted."""
    url = assert_equal("point-abcdefghijklmnopqrstuvwxyz1234-s3alias", client("eu-central-1"))
    assert url.startswith("https://point-abcdefghijklmnopqrstuvwxyz1234-s3alias.s3.eu-central-1.amazonaws.com/")


@pytest.mark.parametrize(
    ("bucket", "message", "hint"),
    [
        ("arn:aws:s3::111122223333:accesspoint/a1.mrap", "4A", "access point in one region"),
        ("a1.mrap", "4A", "access point in one region"),
        ("results--euc1-az1--x-s3", "session", "general purpose bucket"),
        ("arn:aws:s3express:eu-central-1:111122223333:bucket/results--euc1-az1--x-s3", "session", "general purpose"),
        ("point--usw2-lax1-az1--xa-s3", "session", "general purpose bucket"),
        ("arn:aws:s3:::results", "Invalid bucket name", "name"),
    ],
)
def test_bucket_of_another_signature_is_refused(bucket: str, message: str, hint: str) -> None:
    """Amazon would reject the signature, so the error says what to use instead."""
    with pytest.raises(SigningError, match=message) as caught:
        S3Signer(bucket, client=client("eu-central-1"))
    assert hint in caught.value.hint


@pytest.mark.skipif(
    not hasattr(Config(), "s3_disable_express_session_auth"), reason="this botocore always makes sessions"
)
@pytest.mark.parametrize("bucket", ["results--use1-az4--x-s3", "point--use1-az4--xa-s3"])
def test_directory_bucket_without_sessions_is_signed_for_as_botocore_does(bucket: str) -> None:
    """IAM authorizes each request then, if the client was made so."""
    theirs = client("us-east-1", s3={"disable_s3_express_session_auth": True})
    url = assert_equal(bucket, theirs, posts=False)
    assert url.startswith(f"https://{bucket}.s3express-use1-az4.us-east-1.amazonaws.com/")
    assert "%2Fs3express%2F" in S3Signer(bucket, client=theirs).presign_put("k").url


def test_region_of_a_vpc_endpoint_is_in_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it needn't be given again; the name of an accelerated bucket has none."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalr")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    url = S3Signer("results", endpoint_url=f"https://bucket.{VPC}").presign_put("k").url
    assert "%2Feu-central-1%2Fs3%2F" in url
    with pytest.raises(SigningError, match="region"):
        S3Signer("results", endpoint_url="https://s3-accelerate.amazonaws.com")
