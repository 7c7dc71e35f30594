"""callback_sdk.service.work.results_bucket"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from callback_sdk.errors import CallbackParamError, ConfigurationError, DeliveryError, InvalidTargetError
from callback_sdk.outputs import Output
from callback_sdk.service.work.results_bucket import ResultsBucket, operators_errors
from callback_sdk.targets.callbacks import Callback, parse_callbacks
from callback_sdk.testing import SeaweedFS


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set boto3's variables."""
    for name, value in {"ACCESS_KEY_ID": "AK", "SECRET_ACCESS_KEY": "SK", "REGION": "eu-central-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)


def callback(url: str, param: dict[str, Any] | None = None) -> Callback:
    (found,) = parse_callbacks(url, param)
    return found


@pytest.mark.parametrize(
    ("place", "url", "key"),
    [
        ("s3://bucket/runs", "results:", "/runs/42/result.json"),
        ("s3://bucket/a/b/", "results:other.json", "/a/b/42/other.json"),
        ("s3://bucket", "results:x", "/42/x"),
    ],
)
def test_the_key_is_made_of_prefix_and_task(place: str, url: str, key: str) -> None:
    """The shown URL has no signature, and the signed one keeps the document's part of the parameter."""
    bucket = ResultsBucket(place)
    target = callback(url, {"run": 7})
    assert str(bucket.with_shown_url(target, "42").shown_url) == f"https://bucket.s3.eu-central-1.amazonaws.com{key}"
    signed = bucket.sign(target, "42")
    assert signed.url.path == key
    assert signed.url.query("X-Amz-Expires") == "600"
    assert signed.param == {"run": 7}


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "/x", ".", "..", "%2e%2e", "a?b", "a#b", "//host/x", "x" * 101, " x", "ä", "a\x00"]
)
def test_no_name_leads_out_of_the_tasks_prefix(name: str) -> None:
    """Whatever a user writes after the colon."""
    with pytest.raises(InvalidTargetError):
        ResultsBucket("s3://bucket/runs").sign(callback(f"results:{name}"), "42")


@pytest.mark.parametrize(
    ("name", "key"), [("plots/ä b.png", "/runs/42/plots/%C3%A4%20b.png"), ("a%2Fb?c", "/runs/42/a%252Fb%3Fc")]
)
def test_an_output_file_is_an_object_beside_the_document(name: str, key: str) -> None:
    """With its own media type."""
    output = Output.from_stored(path=Path(__file__), name=name, size=1, sha256="0", media_type="image/png")
    signed = ResultsBucket("s3://bucket/runs").sign_file(output, "42")
    assert signed.url.bare.endswith(f".amazonaws.com{key}")
    assert signed.url.query("X-Amz-Expires") == "600"
    assert signed.headers is not None
    assert signed.headers.reveal() == {"content-type": "image/png"}


def test_the_longest_names_fit_in_a_key() -> None:
    """1,024 bytes; a longer prefix is an error at the start."""
    name = "/".join(["x" * 255, "x" * 254, "x"])
    output = Output.from_stored(path=Path(__file__), name=name, size=1, sha256="0", media_type="a/b")
    ResultsBucket("s3://bucket/" + "p" * 450).sign_file(output, str(uuid.UUID(int=0)))
    with pytest.raises(ConfigurationError):
        ResultsBucket("s3://bucket/" + "p" * 451)


@pytest.mark.parametrize(
    "param",
    [
        {"s3_headers": {"x-amz-acl": "public-read"}},
        {"http": {"method": "PUT"}},
        {"webhook": True},
        {"refresh": {"url": "https://issuer.example/"}},
    ],
)
def test_members_of_other_targets_are_rejected(param: dict[str, Any]) -> None:
    """The service's own signature has no headers of a user."""
    with pytest.raises(CallbackParamError):
        ResultsBucket("s3://bucket/runs").sign(callback("results:", param), "42")


@pytest.mark.parametrize(
    "place", ["bucket", "s3://", "https://bucket/x", "s3://bucket/../x", "s3:///x", "s3://b/a b", "s3://b:1"]
)
def test_a_wrong_location_is_an_error_at_the_start(place: str) -> None:
    """Before the first task."""
    with pytest.raises(ConfigurationError, match="not a location"):
        ResultsBucket(place)


@pytest.mark.parametrize(
    ("variable", "code"),
    [
        ("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch"),
        ("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId"),
        ("bucket", "NoSuchBucket"),
        ("", ""),
    ],
)
def test_the_store_is_asked_at_the_start(
    monkeypatch: pytest.MonkeyPatch, seaweedfs: SeaweedFS, bucket: str, variable: str, code: str
) -> None:
    """A wrong key or bucket is an error before the first task."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweedfs.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs.secret_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", seaweedfs.endpoint_url)
    place = ResultsBucket(f"s3://{'no-such-bucket' if variable == 'bucket' else bucket}/runs")
    if variable.startswith("AWS"):
        monkeypatch.setenv(variable, "wrong")
    if not code:
        place.check()
        return
    with pytest.raises(ConfigurationError, match=f"--results-bucket: {code}"):
        place.check()


def test_a_store_that_cannot_be_reached_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be back when the first result is sent."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    ResultsBucket("s3://bucket/runs").check()
    assert "can't be checked: 'EndpointConnectionError'" in caplog.text


def test_errors_of_the_services_own_bucket_are_the_operators() -> None:
    """The owner of the task has no URL to pass unchanged; other errors keep their hints."""
    for code, status, said in (("SignatureDoesNotMatch", 403, "--results-bucket"), ("SlowDown", 503, "Unchanged.")):
        with pytest.raises(DeliveryError, match=said), operators_errors():
            raise DeliveryError("Rejected.", hint="Unchanged.", code=code, status=status)


@pytest.mark.parametrize(
    "place", ["s3://user:hunter2@b", "s3://user:hunter2@b/x", "s3://user:hunter2@b/a b", "user:hunter2@b"]
)
def test_a_location_with_a_password_is_an_error_without_it(place: str) -> None:
    """It is neither shown nor taken for a part of the bucket's name."""
    with pytest.raises(ConfigurationError, match="not a location") as caught:
        ResultsBucket(place)
    assert "hunter2" not in str(caught.value)


def test_missing_credentials_are_an_error_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not at the first delivery."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(ConfigurationError, match="can't be signed"):
        ResultsBucket("s3://bucket/runs").check()
