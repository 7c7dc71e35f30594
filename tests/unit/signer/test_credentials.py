"""Every way in which boto3 has no credentials is a SigningError that says what to do."""

from __future__ import annotations

import inspect
import os
import string
import threading
import traceback
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pytest
from botocore.credentials import RefreshableCredentials

from callback_sdk import S3Signer, aistore
from callback_sdk.errors import SigningError
from callback_sdk.signer.credentials import CredentialSource, credentials_error
from tests.forks import in_child

MARK = "MARKED-SECRET"


def _raisable(kind: type[Exception]) -> Exception:
    """Make an error of botocore's, with whatever it needs."""
    if issubclass(kind, botocore.exceptions.ClientError):
        response = {"Error": {"Code": "AccessDenied", "Message": "not authorized to perform sts:AssumeRole"}}
        return kind(response, "AssumeRole")  # type: ignore[call-arg]
    names = [name for _, name, _, _ in string.Formatter().parse(getattr(kind, "fmt", "")) if name]
    given = inspect.signature(kind.__init__).parameters
    needed = [name for name in (*names, *given) if name not in ("self", "kwargs", "request", "response")]
    return kind(**dict.fromkeys(needed, "x"))


ERRORS = [
    kind
    for _, kind in inspect.getmembers(botocore.exceptions, inspect.isclass)
    if issubclass(kind, (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError))
]
OTHERS = [
    RuntimeError("still expired"),
    FileNotFoundError(2, "No such file", "/token"),
    KeyError(MARK),
    ValueError(MARK),
]
RAISED = [*map(_raisable, ERRORS), *OTHERS]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Take all settings of AWS away, and return the folder of its files."""
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    return tmp_path


@cache
def _expired() -> tuple[S3Signer, Any]:
    """Return a signer whose credentials must be renewed, and these."""
    client = boto3.client("s3", region_name="eu-west-1", aws_access_key_id="A", aws_secret_access_key="B")
    expired = datetime.now(timezone.utc) - timedelta(hours=1)
    credentials = RefreshableCredentials("A", MARK, MARK, expired, dict, "test")
    client._request_signer._credentials = credentials
    return S3Signer("results-bucket", client=client), credentials


@pytest.mark.parametrize("text", ["https://u:{}@h/x", "https://h/x?token={}", "http://h/v2/credentials/{}", "u:p/{}@h"])
def test_cause_with_a_credential_in_a_url_is_omitted(text: str) -> None:
    """Errors of botocore quote endpoints, and the errors below them whole requests."""
    token = "Ab3dE5fG7hI9jK1lM3nO5pQ7"
    error = botocore.exceptions.EndpointConnectionError(endpoint_url=text.format(token))
    failure = credentials_error(error, "can't be used")
    assert failure.__cause__ is None
    assert token not in str(failure)
    kept = botocore.exceptions.EndpointConnectionError(endpoint_url="https://sts.amazonaws.com/")
    kept.__context__ = OSError(f"GET /?token={token}")
    assert credentials_error(kept, "can't be used").__cause__ is kept
    assert kept.__context__ is None


def _check(error: SigningError, cause: Exception) -> None:
    assert error.hint
    assert error.__cause__ is (None if type(cause) in (KeyError, ValueError, RuntimeError) else cause)
    assert cause.__traceback__ is None or error.__cause__ is None
    assert MARK not in str(error)
    assert MARK not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize("raised", RAISED, ids=lambda error: type(error).__name__)
def test_every_error_while_looking_for_credentials_is_ours(raised: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each class of botocore's, and what a provider's own code raises, is told with a hint, at once."""

    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(boto3.Session, "get_credentials", fail)
    with pytest.raises(SigningError, match=r"credentials can't be used: ") as caught:
        S3Signer("results-bucket", region="eu-west-1")
    _check(caught.value, raised)


@pytest.mark.parametrize("raised", RAISED, ids=lambda error: type(error).__name__)
def test_every_error_while_renewing_credentials_is_ours(raised: Exception) -> None:
    """So are those of a role, of a log-in and of an instance, which come when a signature is asked for."""

    def fail() -> dict[str, str]:
        raise raised

    signer, credentials = _expired()
    credentials._refresh_using = fail
    for sign in (signer.presign_put, signer.presign_post):
        with pytest.raises(SigningError, match=r"credentials can't be renewed: ") as caught:
            sign("k")
        _check(caught.value, raised)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"AWS_PROFILE": "misspelt"}, r"profile 'misspelt'.*could not be found.*AWS_PROFILE"),
        ({"AWS_PROFILE": "half"}, r"profile 'half'.*missing: aws_secret_access_key.*both keys"),
        ({"AWS_PROFILE": "no-source"}, r"profile 'no-source'.*source_profile or credential_source"),
        ({"AWS_PROFILE": "loop"}, r"profile 'loop'.*loop.*source_profile"),
        ({"AWS_PROFILE": "process"}, r"profile 'process'.*custom-process.*credential_process"),
        ({"AWS_PROFILE": "missing-process"}, r"profile 'missing-process'.*No such file"),
        ({"AWS_PROFILE": "sso"}, r"profile 'sso'.*aws sso login"),
        ({"AWS_PROFILE": "empty"}, r"no AWS credentials to sign with in the profile 'empty'.*AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": "A"}, r"missing: AWS_SECRET_ACCESS_KEY"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9/?token=MARKED-SECRET"}, r"container"),
        (
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "/none", "AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/x"},
            "No such file.*/none",
        ),
        ({"AWS_CONFIG_FILE": "garbage"}, r"config file.*AWS_CONFIG_FILE"),
        ({"AWS_SHARED_CREDENTIALS_FILE": "binary"}, r"UnicodeDecodeError|config file"),
        ({}, r"no AWS credentials to sign with.*AWS_ACCESS_KEY_ID"),
    ],
    ids=str,
)
def test_every_faulty_setting_is_named(
    settings: dict[str, str], said: str, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile that isn't there, half of a key, a program that fails, a log-in that is over: each as users have it."""
    (environment / "config").write_text(
        "[profile no-source]\nrole_arn = arn:aws:iam::111122223333:role/x\n"
        "[profile loop]\nrole_arn = arn:aws:iam::111122223333:role/x\nsource_profile = loop2\n"
        "[profile loop2]\nrole_arn = arn:aws:iam::111122223333:role/x\nsource_profile = loop\n"
        "[profile process]\ncredential_process = /bin/false\n[profile missing-process]\ncredential_process = /none/x\n"
        "[profile sso]\nsso_session = s\nsso_account_id = 111122223333\nsso_role_name = r\n"
        "[sso-session s]\nsso_region = eu-west-1\nsso_start_url = https://sso.invalid/start\n[profile empty]\n"
    )
    (environment / "credentials").write_text("[half]\naws_access_key_id = AKIAEXAMPLE\n")
    (environment / "garbage").write_text("[profile\nx y z")
    (environment / "binary").write_bytes(b"\xff\xfe\x00\x80[x]")
    monkeypatch.chdir(environment)
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SigningError, match=said) as caught:
        S3Signer("results-bucket", region="eu-west-1").presign_put("k")
    assert caught.value.hint
    assert MARK not in str(caught.value)


def test_a_missing_region_is_told_with_what_sets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint names both variables, of which each works."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "A")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "B")
    with pytest.raises(SigningError, match=r"region .* is not known.*AWS_REGION or AWS_DEFAULT_REGION"):
        S3Signer("results-bucket")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: boto3.resource("s3", region_name="eu-west-1"), r"is a resource of boto3\. .*resource\.meta\.client"),
        (lambda: boto3.client("sqs", region_name="eu-west-1"), r"no S3 client.*boto3\.client\('s3'\)"),
        (lambda: boto3.Session(), r"type Session, and no S3 client"),
        (lambda: "s3", r"type str, and no S3 client"),
    ],
)
def test_what_is_no_client_is_named(make: Any, said: str) -> None:
    """A resource, a session or another service's client is not taken for an S3 client."""
    with pytest.raises(SigningError, match=said):
        S3Signer("results-bucket", client=make())


def test_a_lock_held_by_another_thread_does_not_stop_a_child() -> None:
    """A fork while another thread renews credentials leaves the child able to renew them itself."""
    renewed = {"access_key": "A", "secret_key": "B", "token": "C", "expiry_time": "2100-01-01T00:00:00Z"}
    expired = datetime.now(timezone.utc) - timedelta(hours=1)
    begun, go_on = threading.Event(), threading.Event()

    def renew() -> dict[str, str]:
        begun.set()
        go_on.wait(120)
        return renewed

    client = boto3.client("s3", region_name="eu-west-1", aws_access_key_id="A", aws_secret_access_key="B")
    client._request_signer._credentials = RefreshableCredentials("A", "B", "C", expired, renew, "test")
    source = CredentialSource(client)
    thread = threading.Thread(target=source.current)
    thread.start()
    begun.wait(120)

    def sign() -> str:
        go_on.set()
        return source.current().access_key

    assert in_child(sign) == "A"
    go_on.set()
    thread.join()


@pytest.mark.parametrize("renewed", [timedelta(hours=6), timedelta(minutes=56), None], ids=["longer", "short", "fails"])
def test_credentials_are_renewed_where_a_signature_needs_it(renewed: timedelta | None) -> None:
    """A signature that would outlive its credentials gets longer ones, once; an error tells where there are none."""
    calls = []

    def metadata(life: timedelta) -> dict[str, str]:
        end = datetime.now(timezone.utc) + life
        return {"access_key": "A", "secret_key": "B", "token": "C", "expiry_time": end.isoformat()}

    def renew() -> dict[str, str]:
        calls.append(1)
        if renewed is None:
            raise OSError(101, "Network is unreachable")
        return metadata(renewed)

    client = boto3.client("s3", region_name="eu-west-1", aws_access_key_id="A", aws_secret_access_key="B")
    client._request_signer._credentials = RefreshableCredentials.create_from_metadata(
        metadata(timedelta(minutes=55)), refresh_using=renew, method="test"
    )
    signer = S3Signer("results-bucket", client=client)
    signer.presign_put("k", expires=timedelta(minutes=50))
    assert calls == []
    for _ in range(3):
        if renewed == timedelta(hours=6):
            assert signer.presign_put("k").expires_at > datetime.now(timezone.utc) + timedelta(minutes=59)
        else:
            with pytest.raises(SigningError, match="temporary credentials expire at"):
                signer.presign_put("k")
    assert calls == [1]


def test_a_client_for_aistore_names_faulty_credentials_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no token, boto3's credentials are looked for in the same way."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "A")
    with pytest.raises(SigningError, match="AWS_SECRET_ACCESS_KEY"):
        aistore.client("http://aistore:8080")
    monkeypatch.setenv("AWS_PROFILE", "misspelt")
    with pytest.raises(SigningError, match=r"profile 'misspelt'.*could not be found"):
        aistore.client("http://aistore:8080")
