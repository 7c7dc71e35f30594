"""What S3Signer refuses to sign, and where it finds a bucket."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta, timezone
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import Credentials, RefreshableCredentials

from callback_sdk import S3Signer, check_target
from callback_sdk.errors import PolicyError, SigningError

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give boto3 credentials and no other configuration."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRETMARKER")


@pytest.fixture
def signer() -> S3Signer:
    """Sign for a bucket on AWS."""
    return S3Signer("results-bucket", region="eu-central-1")


def client_with(credentials: Any) -> Any:
    client = boto3.client("s3", region_name="eu-central-1")
    client._request_signer._credentials = credentials
    return client


def temporary(life: timedelta) -> RefreshableCredentials:
    end = datetime.now(timezone.utc) + life
    metadata = {"access_key": "A", "secret_key": "S", "token": "T", "expiry_time": end.isoformat()}
    return RefreshableCredentials.create_from_metadata(
        metadata, refresh_using=lambda: metadata, method="test", advisory_timeout=1, mandatory_timeout=1
    )


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "eu-central-1", "ap-south-2"])
def test_hosts_are_regional(region: str) -> None:
    """Every region's bucket is signed on its own host, with Signature Version 4."""
    url = S3Signer("results-bucket", region=region).presign_put("k").url
    assert url.startswith(f"https://results-bucket.s3.{region}.amazonaws.com/k?X-Amz-Algorithm=AWS4-HMAC-SHA256")


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({"AWS_REGION": "eu-central-1"}, "eu-central-1"),
        ({"AWS_DEFAULT_REGION": "eu-north-1"}, "eu-north-1"),
        ({"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-north-1"}, "eu-north-1"),
        ({"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": ""}, "eu-central-1"),
    ],
)
def test_the_region_comes_from_either_variable(
    variables: dict[str, str], region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS_REGION is what Amazon's other SDKs read, and what Lambda sets; boto3's own variable comes first."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert f".s3.{region}.amazonaws.com/" in S3Signer("results-bucket").presign_put("k").url
    assert (
        S3Signer("results-bucket", region="sa-east-1")
        .presign_put("k")
        .url.startswith("https://results-bucket.s3.sa-east-1.")
    )


def test_bucket_with_dots_is_addressed_by_path() -> None:
    """No certificate covers a bucket's dots."""
    url = S3Signer("a.b.c", region="eu-central-1").presign_put("k").url
    assert url.startswith("https://s3.eu-central-1.amazonaws.com/a.b.c/k?")


@pytest.mark.parametrize("style", [None, "auto", "path"])
def test_other_stores_are_addressed_by_path(style: str | None) -> None:
    """An S3-compatible endpoint has the bucket in its path, and needs no region."""
    signer = S3Signer("b-1", endpoint_url="https://minio.example.org:9000", addressing_style=style)
    assert signer.presign_put("k").url.startswith("https://minio.example.org:9000/b-1/k?")
    assert signer.presign_post("k").url == "https://minio.example.org:9000/b-1"


def test_other_store_from_the_environment_is_addressed_by_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3's own AWS_ENDPOINT_URL_S3 counts."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://localhost:9000")
    assert S3Signer("b-1").presign_put("k").url.startswith("http://localhost:9000/b-1/k?")


def test_other_store_may_be_addressed_by_host() -> None:
    """addressing_style='virtual' is honoured."""
    signer = S3Signer("b-1", endpoint_url="https://s3.example.org", addressing_style="virtual")
    assert signer.presign_put("k").url.startswith("https://b-1.s3.example.org/k?")


@pytest.mark.parametrize(
    "url", ["https://u:p4ssw0rd@x.org:99999", "https://u:p4ssw0rd@x.org:abc", "ftp://u:p4ssw0rd@h/?a"]
)
def test_password_of_an_endpoint_is_not_in_the_error(url: str) -> None:
    """botocore's error quotes the endpoint."""
    with pytest.raises(SigningError) as caught:
        S3Signer("results", region="eu-west-1", endpoint_url=url).presign_put("k")
    assert "p4ssw0rd" not in str(caught.value)


@pytest.mark.parametrize("given", ["argument", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_endpoint_without_a_scheme_is_named(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """A host alone is a frequent mistake."""
    options = {"endpoint_url": "minio.example.org:9000"} if given == "argument" else {}
    if given != "argument":
        monkeypatch.setenv(given, "minio.example.org")
    with pytest.raises(SigningError, match="The endpoint is not a URL") as caught:
        S3Signer("results", region="eu-west-1", **options)  # type: ignore[arg-type]
    assert "scheme and host" in caught.value.hint


def test_client_gives_region_endpoint_style_and_credentials() -> None:
    """A boto3 client brings all that it was made with."""
    client = boto3.client(
        "s3",
        region_name="us-west-2",
        endpoint_url="https://store.example.org",
        aws_access_key_id="OTHER",
        aws_secret_access_key="S",
        config=Config(signature_version="s3", s3={"addressing_style": "virtual"}),
    )
    url = S3Signer("b-1", client=client).presign_put("k").url
    assert url.startswith("https://b-1.store.example.org/k?")
    assert "OTHER%2F" in url
    assert "us-west-2" in url


def test_access_point_is_signed_in_its_own_region() -> None:
    """An access point's ARN names its region."""
    arn = "arn:aws:s3:eu-west-1:123456789012:accesspoint/results"
    url = S3Signer(arn, region="eu-west-1").presign_put("k").url
    assert url.startswith("https://results-123456789012.s3-accesspoint.eu-west-1.amazonaws.com/k?")
    with pytest.raises(SigningError, match="access point"):
        S3Signer(arn, region="eu-west-1").presign_post("k")


@pytest.mark.parametrize("expires", [timedelta(0), timedelta(seconds=-5), timedelta(milliseconds=999), 0, 0.5, -5])
def test_lifetime_that_is_too_short_is_refused(signer: S3Signer, expires: Any) -> None:
    """Zero and negative lifetimes say so, for PUT and POST."""
    for sign in (signer.presign_put, signer.presign_post):
        with pytest.raises(SigningError, match=r"too short|Must be positive"):
            sign("k", expires=expires)


def test_lifetime_of_more_than_a_week_is_refused(signer: S3Signer) -> None:
    """Signature Version 4 ends after 7 days; exactly 7 days are fine."""
    assert "&X-Amz-Expires=604800&" in signer.presign_put("k", expires=timedelta(days=7)).url
    assert "&X-Amz-Expires=604800&" in signer.presign_put("k", expires=7 * 86_400).url
    for sign in (signer.presign_put, signer.presign_post):
        with pytest.raises(SigningError, match="7 days"):
            sign("k", expires=timedelta(days=7, seconds=1))


def test_lifetime_beyond_temporary_credentials_is_refused() -> None:
    """A signature dies with the session that made it; the error says when."""
    signer = S3Signer("results-bucket", client=client_with(temporary(HOUR)))
    assert "X-Amz-Security-Token=T&" in signer.presign_put("k", expires=HOUR / 2).url
    for sign in (signer.presign_put, signer.presign_post):
        with pytest.raises(SigningError, match="temporary credentials expire at"):
            sign("k", expires=2 * HOUR)


@pytest.mark.parametrize("expires", ["1h", None, True])
def test_lifetime_that_is_not_a_duration_is_refused(signer: S3Signer, expires: Any) -> None:
    """Text has no unit, and True isn't a number of seconds."""
    with pytest.raises(SigningError, match="timedelta"):
        signer.presign_put("k", expires=expires)


@pytest.mark.parametrize("key", ["", "x" * 1025, "é" * 513, "\ud800", None, 7])
def test_key_that_no_store_takes_is_refused(signer: S3Signer, key: Any) -> None:
    """Empty, longer than 1024 bytes, or not UTF-8."""
    for sign in (signer.presign_put, signer.presign_post):
        with pytest.raises(SigningError, match="key"):
            sign(key)


@pytest.mark.parametrize(
    "options",
    [
        {"content_type": "text/plain\r\nx: y"},
        {"metadata": {"a b": "c"}},
        {"metadata": {"a": "é"}},
        {"metadata": {"a": 1}},
        {"acl": "pri\nvate"},
    ],
)
def test_header_that_cannot_be_sent_is_refused(signer: S3Signer, options: dict[str, Any]) -> None:
    """Headers are printable ASCII, and no value smuggles in another header."""
    with pytest.raises(SigningError, match="can't be sent"):
        signer.presign_put("k", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": {"policy": "x"}}, "set by the signer"),
        ({"fields": {"Key": "x"}}, "set by the signer"),
        ({"fields": {"acl": 5}}, "as strings"),
        ({"fields": {"ACL": "private"}, "acl": "private"}, "given twice"),
        ({"conditions": [["eq", "$acl"]]}, "eq without a name and a value"),
        ({"conditions": [["starts-with", "acl", "p"]]}, "doesn't begin with '\\$'"),
        ({"conditions": 5}, "conditions is of type int, not a list"),
        ({"conditions": {"acl": "private"}}, "conditions is of type dict, not a list"),
        ({"conditions": [[b"eq", "$acl", "x"]]}, "neither an object nor a list with an operator"),
        ({"conditions": [{5: "x"}]}, "a name that is not a string"),
        ({"conditions": [{"acl": 5}]}, "its value for 'acl' is not a string"),
        ({"conditions": [["eq", "$acl", "\ud800"]]}, "lone surrogate"),
        ({"conditions": [["content-length-range", 0, float("nan")]]}, "two whole numbers"),
        ({"conditions": [["content-length-range", 9, 1]]}, "allows no number of bytes"),
        ({"conditions": [["content-length-range", 5, 9]], "max_bytes": 4}, "allows no number of bytes"),
        ({"conditions": [{"x-amz-date": "20260101T000000Z"}]}, "added by the signer"),
        ({"conditions": itertools.repeat({"acl": "private"})}, "more than 100 conditions"),
        ({"conditions": [["starts-with", "$key", "runs/"]]}, "a prefix of the field 'key'"),
        ({"conditions": [{"acl": "private"}], "acl": "public-read"}, "a value of the field 'acl'"),
        ({"conditions": [{"bucket": "another"}]}, "for another bucket"),
        ({"fields": {"acl": "x", "ACL": "x"}}, "a field twice"),
        ({"fields": {"x-amz-meta-a": "\ud800"}}, "a lone surrogate"),
        ({"metadata": {"\ud800": "a"}}, "a lone surrogate"),
        ({"content_type": "text/plain\r\nx: y"}, "a character that HTTP can't send"),
        ({"metadata": {"a": "", "A": ""}}, "a name twice"),
        ({"fields": {f"x-amz-meta-{number}": "" for number in range(94)}}, "94 fields"),
        ({"fields": {"x-amz-meta-a": "x" * 20_000}}, "32768 are allowed"),
        ({"fields": 5}, "fields is of type int"),
        ({"fields": "acl"}, "fields is of type str"),
        ({"fields": {5: "x"}}, "fields has a name of type int"),
        ({"metadata": ["x"]}, "metadata is of type list"),
        ({"max_bytes": "1MB"}, "max_bytes is '1MB'"),
        ({"max_bytes": -1}, "max_bytes is -1"),
        ({"max_bytes": True}, "max_bytes is True"),
        ({"max_bytes": 10**5000}, "max_bytes is a value of type int"),
    ],
)
def test_form_that_cannot_be_signed_is_refused(signer: S3Signer, options: dict[str, Any], message: str) -> None:
    """The signer's own fields, wrong types and broken conditions say what is wrong."""
    with pytest.raises(SigningError, match=message):
        signer.presign_post("k", **options)


def test_condition_for_a_field_that_is_not_given_is_signed(signer: S3Signer) -> None:
    """A browser adds the field, such as the type of the chosen file."""
    post = signer.presign_post("uploads/${filename}", conditions=[["starts-with", "$Content-Type", "image/"]])
    with pytest.raises(PolicyError, match="content-type"):
        check_target(post)
    check_target(post.url, {"s3_fields": {**post.fields, "Content-Type": "image/png"}})


def test_several_conditions_in_one_dict_are_signed_one_by_one(signer: S3Signer) -> None:
    """Amazon S3: "Simple-Conditions must have exactly one property specified"."""
    signer._clock = datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp
    fields = {"acl": "private", "x-amz-meta-a": "b"}
    one = signer.presign_post("k", fields=fields, conditions=[fields])
    assert one == signer.presign_post("k", fields=fields, conditions=[{name: value} for name, value in fields.items()])


def test_condition_of_the_bucket_is_not_doubled(signer: S3Signer) -> None:
    """Some stores accept policies of 1 KiB only (makeplane/plane#9005)."""
    signer._clock = datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp
    post = signer.presign_post("k", conditions=[{"bucket": "results-bucket"}])
    assert post == signer.presign_post("k")


@pytest.mark.parametrize("levels", [3, 3_000])
def test_condition_that_contains_itself_or_nests_deeply_is_refused(signer: S3Signer, levels: int) -> None:
    """Without an end to look for."""
    circular: list[Any] = ["eq", "$acl"]
    circular.append(circular)
    deep: Any = "x"
    for _ in range(levels):
        deep = [deep]
    for conditions in ([circular], circular, [["eq", "$acl", deep]], [[deep, "$acl", "x"]], [["eq", deep, "x"]]):
        with pytest.raises(SigningError, match="can't be signed"):
            signer.presign_post("k", conditions=conditions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"if_none_match": "*"}, "if_none_match is"),
        ({"metadata": {"a": "1", "A": "2"}}, "a name twice"),
        ({"metadata": {str(number): "" for number in range(101)}}, "100 are allowed"),
        ({"metadata": {"a": "x" * 16_384}}, "16384 are allowed"),
        ({"metadata": {"snowball-auto-extract": "true"}}, "files of an archive"),
    ],
)
def test_headers_that_the_writer_rejects_are_refused(signer: S3Signer, options: dict[str, Any], message: str) -> None:
    """What is signed passes `check`."""
    with pytest.raises(SigningError, match=message):
        signer.presign_put("k", **options)


@pytest.mark.parametrize("keys", ["text", b"bytes", None, 5])
def test_keys_of_many_are_a_list(signer: S3Signer, keys: Any) -> None:
    """At once, and not at the first key."""
    for many in (signer.presign_put_many, signer.presign_post_many):
        with pytest.raises(SigningError, match="not a list"):
            many(keys)


def test_metadata_of_a_url_is_a_dict(signer: S3Signer) -> None:
    """Anything else is refused by its type."""
    with pytest.raises(SigningError, match="metadata is of type int"):
        signer.presign_put("k", metadata=5)  # type: ignore[arg-type]


def test_wildcard_in_the_middle_of_a_key_is_refused(signer: S3Signer) -> None:
    """A form's ${filename} becomes a name, which the policy's key would not be."""
    with pytest.raises(SigningError, match="middle"):
        signer.presign_post("runs/${filename}/result.json")


def test_condition_that_was_given_is_not_doubled(signer: S3Signer) -> None:
    """Conditions as the old notebook gives them, next to the fields, mean the same."""
    fields = {"ACL": "bucket-owner-full-control", "x-amz-meta-a-key": "a-value"}
    signer._clock = datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp
    both = signer.presign_post("k", fields=fields, conditions=[{name: value} for name, value in fields.items()])
    assert both.fields == signer.presign_post("k", fields=fields).fields


def test_unknown_region_is_refused() -> None:
    """Without a region there is no regional host."""
    with pytest.raises(SigningError, match="region"):
        S3Signer("results-bucket")


def test_missing_credentials_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says where credentials come from."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(SigningError, match="AWS_ACCESS_KEY_ID"):
        S3Signer("results-bucket", region="eu-central-1")


@pytest.mark.parametrize("bucket", ["", "UPPER CASE!", None])
def test_bucket_that_cannot_exist_is_refused(bucket: Any) -> None:
    """Bucket names have rules."""
    with pytest.raises(SigningError):
        S3Signer(bucket, region="eu-central-1").presign_put("k")


def test_directory_bucket_is_refused() -> None:
    """Directory buckets want a session, which a presigned URL doesn't have."""
    with pytest.raises(SigningError):
        S3Signer("results--euw1-az1--x-s3", region="eu-west-1")


def test_client_and_region_exclude_each_other() -> None:
    """A client has a region already."""
    with pytest.raises(SigningError, match="together"):
        S3Signer("b-1", client=client_with(temporary(HOUR)), region="eu-central-1")


@pytest.mark.parametrize("many", ["presign_put_many", "presign_post_many"])
def test_what_many_have_in_common_is_refused_at_once(signer: S3Signer, many: str) -> None:
    """Before any key is asked for."""
    with pytest.raises(SigningError, match="longer than the 7 days"):
        getattr(signer, many)(iter(["k"]), expires=timedelta(days=8))


@pytest.mark.parametrize("many", ["presign_put_many", "presign_post_many"])
def test_key_among_many_is_refused_when_its_turn_comes(signer: S3Signer, many: str) -> None:
    """Those before it are signed."""
    targets = getattr(signer, many)(["good", "x" * 1025])
    assert next(targets).expires_at > datetime.now(timezone.utc)
    with pytest.raises(SigningError, match="1025 bytes"):
        next(targets)


@pytest.mark.parametrize("many", ["presign_put_many", "presign_post_many"])
def test_each_of_many_lives_from_when_it_is_asked_for(signer: S3Signer, many: str) -> None:
    """Also over midnight, when the key changes that signs."""
    midnight = datetime(2026, 1, 2, tzinfo=timezone.utc)
    moments = [midnight - timedelta(seconds=1), midnight - timedelta(seconds=1), midnight]
    signer._clock = iter([moment.timestamp() for moment in moments]).__next__
    targets = list(getattr(signer, many)(["a", "b"]))
    assert [target.expires_at - HOUR for target in targets] == moments[1:]
    signer._clock = midnight.timestamp
    assert targets[1] == getattr(signer, many.removesuffix("_many"))("b")


def test_many_are_signed_with_renewed_credentials() -> None:
    """Credentials that botocore has renewed meanwhile sign what is asked for after that."""
    credentials = Credentials("A", "S")
    signer = S3Signer("results-bucket", client=client_with(credentials))
    now = datetime.now(timezone.utc).timestamp()
    signer._clock = iter([now, now, now + 1]).__next__
    targets = signer.presign_put_many(["a", "b"])
    assert "X-Amz-Credential=A%2F" in next(targets).url
    credentials.access_key = "B"
    assert "X-Amz-Credential=B%2F" in next(targets).url


@pytest.mark.parametrize("target", ["presign_put", "presign_post"])
def test_targets_cannot_be_changed(signer: S3Signer, target: str) -> None:
    """They are values, and go into sets."""
    made = getattr(signer, target)("k")
    for name in ("url", "expires_at"):
        with pytest.raises(AttributeError):
            setattr(made, name, None)
    assert made in {made}


def test_nothing_secret_shows(signer: S3Signer) -> None:
    """Neither the signer nor what it signs prints a signature or a key."""
    put, post = signer.presign_put("k", metadata={"run": "PRIVATE"}), signer.presign_post("k")
    shown = f"{signer!r} {put!r} {post!r} {put} {post} {vars(signer)}"
    for secret in ("SECRETMARKER", put.url.split("X-Amz-Signature=")[1], post.fields["policy"], "PRIVATE"):
        assert secret not in shown
