"""Targets that take a document and any number of output files below a prefix."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callback_sdk import S3Signer, check_target
from callback_sdk.errors import CallbackParamError, OutputError, PolicyError, SigningError, WrongOperationError
from callback_sdk.outputs.names import checked_name
from callback_sdk.redaction import Secret
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.planner import plan

NOW = datetime.now(timezone.utc)
SIG = "sig=" + quote("A" * 43 + "=", safe="")
EXPIRY = f"se={NOW + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}".replace(":", "%3A")
BLOB = "https://account.blob.core.windows.net"
CONTAINER = f"{BLOB}/results?sv=2024-11-04&sr=c&sp=cw&{EXPIRY}&{SIG}"
DIRECTORY = f"sv=2024-11-04&sr=d&sdd=2&sp=cw&{EXPIRY}&{SIG}"


@cache
def boto3_client() -> Any:
    return boto3.client("s3", region_name="eu-central-1", aws_access_key_id="AK", aws_secret_access_key="SK")


@pytest.fixture(scope="module")
def signer() -> S3Signer:
    return S3Signer("bucket", client=boto3_client())


def post(signer: S3Signer, key: str, **options: Any) -> Any:
    return boto3_client().generate_presigned_post("bucket", key, **options)


def test_document_and_files_are_below_the_prefix(signer: S3Signer) -> None:
    """Keys, URLs and media types are those of the names."""
    target = check_target(signer.presign_prefix("runs/42/", document="d.json"))
    assert target.takes_outputs()
    assert (target.object_url("") or "").endswith("/runs/42/d.json")
    file = target.below("plots/ä b.png", "image/png")
    assert (file.object_url("") or "").endswith("/runs/42/plots/%C3%A4%20b.png")
    assert not file.takes_outputs()
    fields = (file.callback.fields or {}).reveal()
    assert (fields["key"], fields["content-type"]) == ("runs/42/plots/ä b.png", "image/png")
    file.check(now=NOW, size=10)


@given(name=st.text(max_size=30) | st.text("ab/.: %é", max_size=12), prefix=st.text("runs/ü$", min_size=1, max_size=8))
def test_every_accepted_key_meets_the_policy(name: str, prefix: str) -> None:
    """Whatever is accepted as a prefix and as a name is a key that the policy permits, and a URL that leads to it."""
    signer = S3Signer("bucket", client=boto3_client())
    try:
        checked, target = checked_name(name), check_target(signer.presign_prefix(prefix))
    except (OutputError, SigningError):
        return
    file = target.below(checked, "text/csv")
    file.check(now=NOW, size=0)
    assert unquote(urlsplit(file.object_url("") or "").path) == f"/{prefix}{checked}"


@pytest.mark.parametrize(
    "prefix", ["runs", "", "/", "a//", "../", "a/../", "a/./", "x" * 512 + "/", "a/${filename}/", 1]
)
def test_ambiguous_prefixes_are_not_signed(prefix: Any, signer: S3Signer) -> None:
    """A prefix without a slash permits other prefixes too; one with dots means another one at some stores."""
    with pytest.raises(SigningError):
        signer.presign_prefix(prefix)


@pytest.mark.parametrize("document", ["", "../x", "a\\b", "nul", None])
def test_documents_have_names_like_files(document: Any, signer: S3Signer) -> None:
    """The document's name is checked as that of an output file."""
    with pytest.raises(SigningError):
        signer.presign_prefix("runs/", document=document)


def test_long_keys_are_rejected(signer: S3Signer) -> None:
    """A key of more than 1,024 bytes is an error that names the file."""
    client_post = post(signer, "x" * 1000 + "/${filename}")
    target = check_target(client_post)
    with pytest.raises(OutputError, match="1024 are allowed"):
        target.below("y" * 50, "text/plain")


@pytest.mark.parametrize(
    ("conditions", "fields", "takes", "content_type"),
    [
        ([], {}, True, None),
        ([["starts-with", "$Content-Type", ""]], {}, True, "image/png"),
        ([["starts-with", "$Content-Type", "image/"]], {}, True, "image/png"),
        ([["starts-with", "$Content-Type", ""]], {"Content-Type": "text/plain"}, True, "image/png"),
        ([{"Content-Type": "text/plain"}], {"Content-Type": "text/plain"}, True, "text/plain"),
        ([["starts-with", "$key", "runs/42/a"]], {}, False, None),
        ([{"key": "runs/42/one"}], {}, False, None),
    ],
)
def test_conditions_of_others(
    conditions: list[Any], fields: dict[str, str], takes: bool, content_type: str | None, signer: S3Signer
) -> None:
    """What boto3's policy permits decides whether a form takes files, and with which media type."""
    form = post(signer, "runs/42/${filename}", Conditions=conditions, Fields=fields)
    target = plan(parse_callbacks([form])[0])
    assert target.takes_outputs() is takes
    if takes:
        sent = {
            name.lower(): value for name, value in target.below("a.png", "image/png").callback.fields.reveal().items()
        }
        assert sent.get("content-type") == content_type


def test_an_exact_key_beside_a_prefix_permits_one_key(signer: S3Signer) -> None:
    """As SDKs sign it for a key without a placeholder, whatever other conditions are given."""
    mixed = post(signer, "runs/42/x", Conditions=[["starts-with", "$key", "runs/42/"]])
    assert check_target(mixed).kind == "s3-post"
    with pytest.raises(CallbackParamError, match="doesn't permit keys below a prefix"):
        check_target(mixed["url"], {"s3_fields": mixed["fields"], "s3_prefix": {}})


def test_media_types_that_the_policy_rejects(signer: S3Signer) -> None:
    """A file of a media type that the policy doesn't permit is an error before anything is sent."""
    form = post(signer, "runs/${filename}", Conditions=[["starts-with", "$Content-Type", "image/"]])
    file = plan(parse_callbacks([form])[0]).below("a.csv", "text/csv")
    with pytest.raises(PolicyError, match="content-type"):
        file.check(now=NOW, size=1)


def test_targets_can_be_stored_and_read_back(signer: S3Signer) -> None:
    """The callback of a target, changed for the document or for a file, is stored as it was given."""
    for url, param in (
        (signer.presign_prefix("runs/"), {"run": 1}),
        (post(signer, "runs/${filename}"), {"s3_prefix": {"document": "d.json"}, "run": 1}),
        (CONTAINER, {"azure_prefix": {"prefix": "a/", "document": "d.json"}, "run": 1}),
    ):
        (callback,) = parse_callbacks([url], [param])
        target = plan(callback)
        for stored in (callback, target.callback, target.below("a", "b/c").callback):
            (again,) = parse_callbacks(Secret([json.loads(json.dumps(stored.plain()))]))
            assert plan(again).object_url("id") == target.object_url("id")
            assert plan(again).takes_outputs()
            assert again.param == {"run": 1}


@pytest.mark.parametrize(
    ("url", "param", "document"),
    [
        (CONTAINER, {}, f"{BLOB}/results/result.json"),
        (CONTAINER, {"prefix": "runs/ä/", "document": "x/d.json"}, f"{BLOB}/results/runs/%C3%A4/x/d.json"),
        (f"{BLOB}/results/runs/42?{DIRECTORY}", {}, f"{BLOB}/results/runs/42/result.json"),
        (f"{BLOB}/results/runs/42/?{DIRECTORY}", {"prefix": "b/"}, f"{BLOB}/results/runs/42/b/result.json"),
        (f"{BLOB}/results/runs/42/c?{DIRECTORY}", {}, f"{BLOB}/results/runs/42/c/result.json"),
    ],
)
def test_signatures_of_containers_and_directories(url: str, param: dict[str, str], document: str) -> None:
    """With `azure_prefix` they take the document and files; the query stays as it is."""
    target = check_target(url, {"azure_prefix": param})
    assert target.object_url("") == document
    file = target.below("a b/#.csv", "text/csv")
    assert file.object_url("") == document.replace(param.get("document", "result.json"), "a%20b/%23.csv")
    assert file.callback.url.reveal().partition("?")[2] == url.partition("?")[2]


@pytest.mark.parametrize(
    ("url", "param", "problem"),
    [
        (f"{BLOB}/results?{DIRECTORY}", {}, "needs a signature of a container"),
        (f"{BLOB}/results/runs?{DIRECTORY}", {}, "needs a signature of a container"),
        (CONTAINER.replace("sr=c", "sr=b"), {}, "needs a signature of a container"),
        (CONTAINER, {"prefix": "runs"}, "doesn't end with a slash"),
        (CONTAINER, {"prefix": "../"}, "empty, . or .."),
        (CONTAINER, {"prefix": 1}, "of type int"),
        (CONTAINER, {"document": "../x"}, "no file can be named"),
        (CONTAINER, {"file": "x"}, "has a member 'file'"),
        (CONTAINER, "runs/", "is a str, not a dict"),
        ("https://example.org/done", {}, "doesn't permit keys below a prefix"),
    ],
)
def test_invalid_azure_prefixes(url: str, param: Any, problem: str) -> None:
    """The member is checked, and so is the signature that it belongs to."""
    with pytest.raises(CallbackParamError, match=problem) as caught:
        check_target(url, {"azure_prefix": param})
    assert caught.value.hint
    assert "A" * 20 not in str(caught.value)


def test_containers_without_the_member_are_rejected() -> None:
    """A signature of a container or a directory alone may be that of a blob whose name was forgotten."""
    with pytest.raises(WrongOperationError):
        check_target(CONTAINER)


def test_endpoint_of_data_lake_storage_is_explained() -> None:
    """Azure's library for Data Lake Storage has another endpoint; the hint names the one for uploads."""
    with pytest.raises(WrongOperationError) as caught:
        check_target(f"https://account.dfs.core.windows.net/results/runs/42?{DIRECTORY}", {"azure_prefix": {}})
    assert ".blob. in place of .dfs." in caught.value.hint


def test_permission_to_create_only_is_a_warning() -> None:
    """An upload whose response was lost is sent again, which needs the permission to write."""
    target = check_target(CONTAINER.replace("sp=cw", "sp=c"), {"azure_prefix": {}})
    assert any("not to replace them" in text for text in target.warnings(NOW))
    assert not check_target(CONTAINER, {"azure_prefix": {}}).warnings(NOW)
