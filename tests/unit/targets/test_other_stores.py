"""Signed uploads of stores other than those of S3's protocol: what they can't be, and what is sent."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timezone
from typing import Any

import pytest

from callback_sdk.documents.body import Body
from callback_sdk.errors import (
    InvalidS3FieldsError,
    InvalidTargetError,
    MissingS3FieldsError,
    PolicyError,
    SignedHeaderError,
    WrongOperationError,
)
from callback_sdk.targets import Target, TargetSettings, plan
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.cos import COS
from callback_sdk.targets.obs import OBS
from callback_sdk.targets.operations import Family
from callback_sdk.targets.oracle import PAR
from callback_sdk.targets.oss import OSS
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.targets.swift import SWIFT
from callback_sdk.targets.upload import Upload
from callback_sdk.text.limits import MAX_PATH
from tests.growth import assert_linear
from tests.sdks.rows import rows

NOW = datetime(2026, 1, 31, 12, 30, tzinfo=timezone.utc)
BODY = Body(b'{"job_id":"42"}')
NAMES = {
    "oss2 v1": ("oss2", "sign_url('PUT'), V1", "plain"),
    "oss2 v2": ("oss2", "sign_url('PUT'), V2", "plain"),
    "oss2 v4": ("oss2", "sign_url('PUT'), V4", "plain"),
    "oss2 v4 with additional headers": ("oss2", "sign_url('PUT'), V4", "additional_headers"),
    "OSS form v1": ("alibabacloud-oss-v2", "form signed by hand, V1", "content-length-range, in"),
    "OSS form v4": ("alibabacloud-oss-v2", "form signed by hand, V4", "content-length-range, in"),
    "cos": ("cos-python-sdk-v5", "get_presigned_url('PUT')", "plain"),
    "cos with headers": ("cos-python-sdk-v5", "get_presigned_url('PUT')", "Headers"),
    "cos with a parameter": ("cos-python-sdk-v5", "get_presigned_url('PUT')", "Params"),
    "COS form": ("cos-python-sdk-v5", "form signed by hand", "starts-with $key"),
    "obs": ("esdk-obs-python", "createSignedUrl('PUT'), obs", "plain"),
    "OBS form": ("esdk-obs-python", "createPostSignature", "content-type"),
    "swift": ("python-swiftclient", "generate_temp_url", "digest=sha256"),
    "swift with a prefix": ("python-swiftclient", "generate_temp_url", "prefix, with a name added"),
}

ROWS = {(row.sdk, row.call, row.form): row for row in rows("oss", "cos", "obs", "swift")}
SIGNED = {name: ROWS[key] for name, key in NAMES.items()}

TOKEN = "j3DoSvgQHbUaw6ADzHkDlnaqMuXWef_lhTxCiS9ngCw"
ORACLE = f"https://objectstorage.eu-frankfurt-1.oraclecloud.com/p/{TOKEN}/n/namespace/b/results/o/"
SWIFT_URL = SIGNED["swift"].url
SUPABASE = "https://abcdefgh.supabase.co/storage/v1/object/upload/sign/results/runs/42%20a.json"
SESSION = f"https://storage.googleapis.com/results/42.json?upload_id={'A' * 80}"
GOOGLE_JSON = "https://www.googleapis.com/upload/storage/v1/b/results/o"


def target(url: str, param: Any = None, endpoints: tuple[str, ...] = ()) -> Target:
    (callback,) = parse_callbacks(url, param)
    return plan(callback, TargetSettings(stores=StorageProviders.of(endpoints)))


def upload(url: str, param: Any = None) -> Upload:
    return target(url, param).upload(BODY, delivery_id="msg_1", now=NOW)


def jwt(**claims: Any) -> str:
    parts = [{"alg": "HS256", "typ": "JWT"}, claims]
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*texts, "c2lnbmF0dXJl"])


def every_name(family: Family) -> list[str]:
    return sorted({name for operation in family.operations for name in operation.names})


@pytest.mark.parametrize(
    ("url", "family"),
    [
        (SIGNED["oss2 v1"].url, OSS),
        (SIGNED["oss2 v2"].url, OSS),
        (SIGNED["oss2 v4"].url, OSS),
        (SIGNED["cos"].url, COS),
        (SIGNED["obs"].url, OBS),
        (SWIFT_URL, SWIFT),
        (f"{ORACLE}42.json?", PAR),
    ],
    ids=["oss v1", "oss v2", "oss v4", "cos", "obs", "swift", "oracle"],
)
def test_every_declared_parameter_makes_a_url_unusable(url: str, family: Family) -> None:
    """In the query in any letter case, and as a header that comes with the URL."""
    for name in every_name(family):
        for given, param in ((f"{url}&{name}=x", None), (f"{url}&{name.upper()}", None), (url, {name: "x"})):
            with pytest.raises(WrongOperationError) as caught:
                target(given, param and {"s3_headers": param})
            assert caught.value.hint == family.hint


@pytest.mark.parametrize(
    ("name", "remove"),
    [
        ("oss2 v1", "runs/a%20b%2Bc/42.json"),
        ("oss2 v4", "runs/a%20b%2Bc/42.json"),
        ("cos", "runs/a%20b%2Bc/42.json"),
        ("obs", "runs/a%20b%2Bc/42.json"),
        ("swift", "/runs/42.json"),
        ("swift with a prefix", "42.json"),
    ],
)
def test_url_without_an_object_is_refused(name: str, remove: str) -> None:
    """A PUT there would make a bucket or a container."""
    with pytest.raises(WrongOperationError, match="has no object"):
        target(SIGNED[name].url.replace(remove, ""))


@pytest.mark.parametrize(
    "url",
    [
        "https://results.oss-cn-hangzhou.aliyuncs.com/k",
        "https://results.oss-cn-hangzhou-internal.aliyuncs.com/k",
        "https://results.oss-accelerate.aliyuncs.com/k",
        "https://results.cn-hangzhou.oss.aliyuncs.com/k",
        "https://results.s3.oss-cn-hangzhou.aliyuncs.com/k",
        "https://results-1250000000.cos.ap-guangzhou.myqcloud.com/k",
        "https://results-1250000000.cos.accelerate.myqcloud.com/k",
        "https://results-1250000000.cos-internal.ap-guangzhou.tencentcos.cn/k",
        "https://results.obs.cn-north-4.myhuaweicloud.com/k",
        "https://results.obs.eu-de.otc.t-systems.com/k",
        "https://objectstorage.us-ashburn-1.oraclecloud.com/n/namespace/b/results/o/k",
        "https://objectstorage.us-gov-ashburn-1.oraclegovcloud.com/n/namespace/b/results/o/k",
        "https://objectstorage.ap-chiyoda-1.oraclecloud8.com/n/namespace/b/results/o/k",
        "https://namespace.objectstorage.us-ashburn-1.oci.customer-oci.com/n/namespace/b/results/o/k",
        "https://namespace.compat.objectstorage.us-ashburn-1.oraclecloud.com/results/k",
        "https://abcdefgh.storage.supabase.co/storage/v1/s3/results/k",
    ],
)
def test_unsigned_url_at_a_store_is_not_a_webhook(url: str) -> None:
    """Nothing would be stored there, and the document would be lost."""
    with pytest.raises(MissingS3FieldsError):
        target(url)


@pytest.mark.parametrize("host", ["cn-hangzhou.fc.aliyuncs.com", "abcdefgh.supabase.co", "apigw.oraclecloud.com"])
def test_functions_of_the_same_providers_are_webhooks(host: str) -> None:
    """Their hosts have other names than those of the stores."""
    assert target(f"https://{host}/functions/v1/done").kind == "webhook"


def test_oss_header_that_the_url_names_needs_its_value() -> None:
    """Additional headers are named; the host and the length are known."""
    url = SIGNED["oss2 v4 with additional headers"].url
    with pytest.raises(SignedHeaderError, match="cache-control"):
        target(url).check(now=NOW)
    target(url.replace("cache-control", "host%3Bcontent-length")).check(now=NOW)


def test_cos_header_that_the_url_names_needs_its_value() -> None:
    """Content-Type has its usual value; others don't."""
    url = SIGNED["cos with headers"].url
    with pytest.raises(SignedHeaderError, match="x-cos-meta-run"):
        target(url).check(now=NOW)
    sent = upload(url, {"s3_headers": {"x-cos-meta-run": "1", "x-cos-acl": "private"}}).headers.reveal()
    assert sent.items() >= {"content-type": "application/json", "x-cos-meta-run": "1", "x-cos-acl": "private"}.items()


def test_cos_parameter_that_was_signed_has_to_be_there() -> None:
    """Its SDK leaves it to the caller to append what it signed."""
    with pytest.raises(InvalidTargetError, match="parameter 'run' is missing"):
        target(SIGNED["cos with a parameter"].url.removesuffix("&run=42"))


@pytest.mark.parametrize(
    ("sign_time", "key_time", "minute"), [(1769864400, 1769862000, 20), (1769862000, 1769864400, 20)]
)
def test_cos_signature_ends_with_the_earlier_of_its_times(sign_time: int, key_time: int, minute: int) -> None:
    """That of the signature, or that of the key."""
    url = SIGNED["cos"].url.replace("q-sign-time=1769860740%3B1769864400", f"q-sign-time=1769860740%3B{sign_time}")
    url = url.replace("q-key-time=1769860740%3B1769864400", f"q-key-time=1769860740%3B{key_time}")
    assert target(url).expires_at == datetime(2026, 1, 31, 12, minute, tzinfo=timezone.utc)


@pytest.mark.parametrize("name", ["OSS form v1", "OSS form v4", "COS form", "OBS form"])
def test_form_is_checked_against_its_policy(name: str) -> None:
    """Fields without a condition are taken; a changed one, a lost one and a cut signature are not."""
    url, fields = SIGNED[name].url, SIGNED[name].fields or {}
    target(url, {"s3_fields": {**fields, "success_action_status": "200"}}).check(now=NOW, size=10)
    signature = next(field for field in fields if "signature" in field.lower() and not field.endswith("version"))
    with pytest.raises(InvalidS3FieldsError, match="incomplete"):
        target(url, {"s3_fields": {**fields, signature: fields[signature][:-1]}})
    if name.startswith("OSS"):
        with pytest.raises(PolicyError, match="0 to 1000"):
            target(url, {"s3_fields": fields}).check(now=NOW, size=1001)
    else:
        with pytest.raises(PolicyError, match="'key'"):
            target(url, {"s3_fields": {**fields, "key": "others/42.json"}}).check(now=NOW, size=10)


def test_cos_form_signs_the_time_of_its_key() -> None:
    """The policy calls it q-sign-time, the form q-key-time."""
    fields = SIGNED["COS form"].fields or {}
    with pytest.raises(PolicyError, match="q-key-time"):
        target(SIGNED["COS form"].url, {"s3_fields": {**fields, "q-key-time": "1;1769864400"}}).check(now=NOW)


@pytest.mark.parametrize("name", ["oss2 v4", "oss2 v1", "cos", "obs", "swift"])
def test_signed_url_with_fields_is_refused(name: str) -> None:
    """One of the two is for another target."""
    with pytest.raises(InvalidS3FieldsError, match="is a signed URL"):
        target(SIGNED[name].url, {"s3_fields": SIGNED["OBS form"].fields})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: url.replace("/o/", "/u/"), "one part of a multipart upload"),
        (lambda url: url.removesuffix("42.json"), "it is for a whole bucket"),
        (lambda url: url.removesuffix("/o/42.json"), "is incomplete"),
        (lambda url: url.partition("/n/")[0], "is incomplete"),
    ],
)
def test_oracle_path_has_to_name_an_object(change: Any, words: str) -> None:
    """The URL of a bucket's request ends with /o/; the error shows neither token nor object."""
    with pytest.raises(InvalidTargetError, match=words) as caught:
        target(change(f"{ORACLE}42.json"))
    assert TOKEN not in str(caught.value)


def test_oracle_credential_is_in_the_path() -> None:
    """It is hidden wherever the URL is shown, and the object's own URL is without it."""
    url = f"{ORACLE}runs/42%20a.json"
    sent = upload(url)
    assert (sent.kind, sent.method, sent.url.reveal(), sent.expires_at) == ("oracle-par", "PUT", url, None)
    assert sent.headers.reveal() == {"content-type": "application/json"}
    assert sent.accepts == {200}
    assert TOKEN not in str(sent.url)
    assert sent.scrub(f"no such request {TOKEN}") == "no such request ***"
    assert target(url).object_url("x") == url.replace(f"/p/{TOKEN}", "")
    assert target(url.replace("oraclecloud.com", "oci.customer-oci.com")).kind == "oracle-par"


def test_oracle_path_at_another_host_is_a_webhook_unless_configured() -> None:
    """An endpoint of the configuration is a store."""
    url = f"https://files.example.org/p/{TOKEN}/n/namespace/b/results/o/42.json"
    assert target(url).kind == "webhook"
    assert target(url, endpoints=("https://files.example.org",)).kind == "oracle-par"


@pytest.mark.parametrize(
    ("path", "names_object"),
    [
        ("/v1/AUTH_a/c/o", True),
        ("/v1/AUTH_a/c/o/", True),
        ("/v1/AUTH_a/c/", False),
        ("/v1/AUTH_a/c", False),
        ("/v1/AUTH_a", False),
        ("/swift/v1/c/o", True),
        ("/swift/v1/c", False),
        ("/swift/v1/AUTH_a/c/o", True),
        ("/swift/v1/AUTH_a/c", False),
        ("/own/path", True),
    ],
)
def test_swift_path_has_to_name_an_object(path: str, names_object: bool) -> None:
    """Ceph may have neither the account nor the root path."""
    url = SWIFT_URL.replace("/v1/AUTH_project/bucket/runs/42.json", path)
    if names_object:
        assert target(url).kind == "swift-put"
    else:
        with pytest.raises(WrongOperationError, match="has no object name"):
            target(url)


def test_swift_object_has_to_be_below_the_prefix() -> None:
    """Its signature covers nothing else."""
    with pytest.raises(InvalidTargetError, match="outside of its temp_url_prefix"):
        target(SIGNED["swift with a prefix"].url.replace("bucket/runs", "bucket/others"))


@pytest.mark.parametrize("text", ["sha256:" + "A" * 43 + "%3D", "sha512:" + "A" * 86 + "==", "sha1:" + "_" * 27])
def test_swift_signature_may_be_base64(text: str) -> None:
    """With the algorithm before it."""
    before, _, after = SWIFT_URL.partition("temp_url_sig=")
    assert target(f"{before}temp_url_sig={text}&{after.partition('&')[2]}").kind == "swift-put"


def test_supabase_token_has_the_expiry() -> None:
    """It is a JWT for one object."""
    url = f"{SUPABASE}?token={jwt(url='results/runs/42 a.json', exp=1769864400, upsert=True)}"
    sent = upload(url)
    assert (sent.kind, sent.method, sent.accepts) == ("supabase-put", "PUT", {200})
    assert sent.expires_at == datetime(2026, 1, 31, 13, tzinfo=timezone.utc)
    assert sent.headers.reveal() == {"content-type": "application/json"}
    assert upload(url, {"s3_headers": {"x-upsert": "true"}}).headers.reveal()["x-upsert"] == "true"
    assert target(url).object_url("x") == "https://abcdefgh.supabase.co/storage/v1/object/results/runs/42%20a.json"
    assert target(f"{SUPABASE}?token={jwt(url='results/runs/42 a.json')}").expires_at is None


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "token is not a JWT"),
        ("?token=", "token is not a JWT"),
        ("?token=abc", "token is not a JWT"),
        (f"?token={jwt(exp=1)[:-12]}", "token is not a JWT"),
        ("?token=a.W10.b", "token is not a JWT"),
        (f"?token={jwt(exp='soon')}", "expiry in its token"),
        (f"?token={jwt(exp=1e300)}", "expiry in its token"),
        (f"?token={jwt(exp=True)}", "expiry in its token"),
        (f"?token={jwt(url='results/other.json')}", "for another object"),
    ],
)
def test_supabase_token_that_is_cut_or_of_another_object_is_refused(query: str, words: str) -> None:
    """The server would refuse it, too."""
    with pytest.raises(InvalidTargetError, match=words) as caught:
        target(SUPABASE + query)
    assert "eyJ" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("object/sign/results/42.json", "reading an object"),
        ("render/image/sign/results/42.png", "reading an image"),
        ("upload/resumable/sign", "a resumable upload"),
        ("object/upload/sign/results", "has no object name"),
        ("object/upload/sign/results/", "has no object name"),
    ],
)
def test_supabase_url_of_another_operation_is_refused(path: str, words: str) -> None:
    """A download URL has a token, too."""
    with pytest.raises(WrongOperationError, match=words):
        target(f"https://abcdefgh.supabase.co/storage/v1/{path}?token={jwt(exp=1769864400)}")


@pytest.mark.parametrize(
    ("url", "stored"),
    [
        (SESSION, "https://storage.googleapis.com/results/42.json"),
        (f"{SESSION}&X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Signature=abc", SESSION.partition("?")[0]),
        (f"{GOOGLE_JSON}?uploadType=resumable&name=42.json&upload_id={'A' * 80}", None),
    ],
)
def test_google_session_takes_the_whole_document_in_one_put(url: str, stored: str | None) -> None:
    """Its range is that of the whole document; 308 is no success there, and no redirect."""
    sent = upload(url)
    assert (sent.kind, sent.method, sent.accepts, sent.redirects) == ("gcs-session", "PUT", {200, 201}, False)
    assert sent.headers.reveal() == {
        "content-type": "application/json",
        "content-range": f"bytes 0-{BODY.size - 1}/{BODY.size}",
    }
    assert target(url).object_url("x") == stored


def test_start_of_a_google_session_is_refused() -> None:
    """It is answered with the session's URI, and nothing is stored."""
    url = "https://storage.googleapis.com/upload/storage/v1/b/results/o?uploadType=resumable&name=42.json"
    with pytest.raises(WrongOperationError, match="only starts a resumable upload") as caught:
        target(url)
    assert 'method="PUT"' in caught.value.hint


def test_time_grows_with_the_path_and_not_faster() -> None:
    """A path that is nearly one of Oracle's."""

    def find(size: int) -> str:
        return (f"{ORACLE}" + "/n/a/b/" * size)[: MAX_PATH - 100]

    small, large = find(16), find(1000)

    def search(url: str) -> None:
        target(url)

    assert_linear(search, small, large, ratio=len(large) // len(small) + 1)
