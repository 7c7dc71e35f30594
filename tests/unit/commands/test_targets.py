"""`callback-sdk sign`, `check` and `send`: what they take, print and end with."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import cli
from callback_sdk.testing import WebhookReceiver
from tests.signedurls import v4

Run = Callable[..., tuple[int, str, str]]

BARE = "https://bucket.s3.eu-central-1.amazonaws.com/runs/1.json"
DOCUMENT = {"job_id": "42", "status": "Finished", "callback_param": {}, "success": True, "results": {"life": 7.5}}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command with credentials of nobody, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "MARKER-of-a-secret-key")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def call(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = cli.main(arguments)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return call


def signed(run: Run, *options: str, kind: str = "put") -> str:
    code, out, err = run("sign", kind, "s3://bucket/runs/1.json", "--region", "eu-central-1", *options)
    assert (code, err) == (0, "")
    return out


def facts(run: Run, target: str, *options: str) -> tuple[int, list[dict[str, Any]]]:
    code, out, err = run("check", "-", "--json", *options, stdin=target)
    assert err == ""
    return code, json.loads(out)


def test_the_region_may_come_from_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The advice for a missing region is true: AWS_REGION is read."""
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.delenv("AWS_REGION", raising=False)
    code, _, err = run("sign", "put", "s3://bucket/runs/1.json")
    assert (code, "Give --region eu-central-1, or set AWS_REGION" in err) == (1, True)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    code, out, err = run("sign", "put", "s3://bucket/runs/1.json")
    assert (code, err) == (0, "")
    assert out.startswith(f"{BARE}?")


@pytest.mark.parametrize("kind", ["put", "post"])
def test_a_duration_without_a_unit_is_rejected(run: Run, kind: str) -> None:
    """Whoever means 90 hours is not given 90 seconds."""
    code, out, err = run("sign", kind, "s3://bucket/runs/1.json", "--region", "eu-central-1", "--expires", "90")
    assert (code, out) == (2, "")
    assert "a number with a unit" in " ".join(err.split())


def test_a_signed_url_is_explained(run: Run) -> None:
    """What it is, until when, and what goes with it; the signature is not repeated."""
    url = signed(run, "--expires", "6h")
    assert url.startswith(f"{BARE}?")
    code, out, _ = run("check", "-", stdin=url)
    assert code == 0
    assert "s3-put" in out
    assert re.search("EXPIRES IN +(5:59:5|6:00:00)", out)
    assert url.strip().rpartition("=")[2] not in out
    code, ((shown),) = facts(run, url)
    assert (code, shown["method"], shown["object"], shown["problem"]) == (0, "PUT", BARE, None)
    assert shown["headers"] == ["content-type"]
    assert 6 * 3600 - 60 < shown["expires_in"] <= 6 * 3600


def test_headers_that_were_signed_travel_with_the_url(run: Run) -> None:
    """A URL alone would not tell them, so it isn't printed alone."""
    options = ("--content-type", "application/json", "--metadata", "run=42", "--if-none-match")
    code, out, err = run("sign", "put", "bucket/runs/1.json", "--region", "eu-central-1", *options)
    assert (code, out) == (2, "")
    assert "--json" in err
    _, ((shown),) = facts(run, signed(run, *options, "--json"))
    assert shown["headers"] == ["content-type", "if-none-match", "x-amz-meta-run"]
    assert shown["problem"] is None


def test_a_signed_form_is_explained(run: Run) -> None:
    """Its fields are named, and their values are not."""
    form = signed(
        run, "--field", "acl=private", "--max-size", "1000", "--content-type", "application/json", kind="post"
    )
    code, ((shown),) = facts(run, form)
    assert (code, shown["kind"], shown["method"], shown["object"]) == (0, "s3-post", "POST", BARE)
    assert {"acl", "policy", "x-amz-signature"} <= set(shown["fields"])
    (given,) = json.loads(form)
    code, out, _ = run("check", "-", stdin=form)
    assert code == 0
    assert not any(given["param"]["s3_fields"][name] in out for name in ("policy", "x-amz-signature"))


def test_what_boto3_returns_is_taken(run: Run, tmp_path: Path) -> None:
    """`generate_presigned_post` has `url` and `fields`; a file may hold several targets."""
    (given,) = json.loads(signed(run, kind="post"))
    targets = [{"url": given["url"], "fields": given["param"]["s3_fields"]}, "https://example.org/done"]
    (tmp_path / "targets.json").write_text(json.dumps(targets))
    code, out, _ = run("check", "targets.json", "--json")
    assert code == 0
    assert [one["kind"] for one in json.loads(out)] == ["s3-post", "webhook"]


def test_what_a_store_ignores_is_a_warning(run: Run) -> None:
    """The target is valid, and the ACL has no effect there."""
    store = ("--endpoint-url", "https://0123456789abcdef.r2.cloudflarestorage.com")
    target = signed(run, "--acl", "private", "--json", *store)
    code, ((shown),) = facts(run, target)
    assert (code, shown["problem"]) == (0, None)
    assert [text.partition(":")[0] for text in shown["warnings"]] == ["Cloudflare R2 has no ACLs of single objects"]
    code, out, _ = run("check", "-", stdin=target)
    assert "WARNINGS" in out


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        (BARE, "neither a signature nor s3_fields"),
        (json.dumps({"url": BARE, "param": {"s3_fields": {}}}), "s3_fields"),
        (json.dumps({"url": BARE, "fields": {"acl": "private"}}), "probably the fields passed"),
        (f"{BARE}?{v4(date='20200101T000000Z')}", "expired"),
        ("ftp://example.org/x", "the scheme ftp"),
    ],
)
def test_a_target_that_is_no_good_is_a_problem(run: Run, target: str, problem: str) -> None:
    """The exit code is 1, and the text is the error's, with what to do."""
    code, ((shown),) = facts(run, target)
    assert code == 1
    assert problem in shown["problem"]
    code, out, _ = run("check", "-", stdin=target)
    assert code == 1
    assert "PROBLEM" in out


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_no_target_is_an_error(run: Run, text: str) -> None:
    """Whatever was piped in, it was none."""
    code, out, err = run("check", "-", stdin=text)
    assert (code, out) == (1, "")
    assert err.startswith("Error: ")


def test_a_file_that_is_not_there_is_an_error(run: Run) -> None:
    """It is named."""
    assert run("check", "nothing.json") == (1, "", "Error: No such file or directory: nothing.json.\n")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("put", "bucket"), "BUCKET/KEY"),
        (("put", "https://bucket/key"), "BUCKET/KEY"),
        (("put", "b/k", "--expires", "soon"), "--expires"),
        (("post", "b/k", "--field", "acl"), "--field"),
        (("put", "b/k", "--metadata", "=x"), "--metadata"),
    ],
)
def test_wrong_usage_is_named(run: Run, arguments: tuple[str, ...], word: str) -> None:
    """Exit code 2, and the option or the argument."""
    code, out, err = run("sign", *arguments)
    assert (code, out) == (2, "")
    assert word in err


def test_what_cannot_be_signed_is_an_error(run: Run) -> None:
    """Longer than S3 allows."""
    code, out, err = run("sign", "put", "bucket/key", "--region", "eu-central-1", "--expires", "8d")
    assert (code, out) == (1, "")
    assert "7 days" in err


def test_a_document_is_sent(run: Run, tmp_path: Path) -> None:
    """As it is, and the receipt is printed."""
    (tmp_path / "document.json").write_text(json.dumps(DOCUMENT))
    with WebhookReceiver() as receiver:
        code, out, err = run("send", "document.json", receiver.url, "--json")
        (request,) = receiver.wait_for(1)
    assert (code, err) == (0, "")
    assert request.document == DOCUMENT
    (receipt,) = json.loads(out)
    assert (receipt["target_kind"], receipt["status"]) == ("webhook", 200)


def test_results_are_sent_with_a_job_id(run: Run, tmp_path: Path) -> None:
    """A failed job's document goes as well."""
    (tmp_path / "results.json").write_text('{"life": 7.5}')
    failed = {**DOCUMENT, "success": False, "error": "no", "results": None}
    (tmp_path / "failed.json").write_text(json.dumps(failed))
    with WebhookReceiver() as receiver:
        assert run("send", "results.json", receiver.url, "--job-id", "42")[0] == 0
        assert run("send", "failed.json", receiver.url)[0] == 0
        first, second = receiver.wait_for(2)
    assert first.document == DOCUMENT
    assert (second.document["success"], second.document["error"]) == (False, "no")


def test_a_document_that_is_none_is_an_error(run: Run, tmp_path: Path) -> None:
    """The hint names --job-id."""
    (tmp_path / "results.json").write_text('{"life": 7.5}')
    code, _, err = run("send", "results.json", "https://example.org/done")
    assert code == 1
    assert "--job-id" in err


def test_a_target_that_has_nothing_is_an_error(run: Run, tmp_path: Path) -> None:
    """Receipts of the others are printed all the same."""
    (tmp_path / "document.json").write_text(json.dumps(DOCUMENT))
    with WebhookReceiver() as receiver:
        targets = json.dumps([{"url": receiver.url}, {"url": BARE}])
        code, out, err = run("send", "document.json", "-", "--json", stdin=targets)
    assert code == 1
    assert len(json.loads(out)) == 1
    assert "neither a signature nor s3_fields" in err


@pytest.mark.parametrize("kind", ["put", "post"])
def test_missing_credentials_come_from_the_environment(run: Run, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line takes no client, so no advice names one."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    code, out, err = run("sign", kind, "s3://bucket/runs/1.json", "--region", "eu-central-1")
    assert (code, out) == (1, "")
    assert err.endswith("Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or choose a profile with AWS_PROFILE.\n")


def test_json_of_another_form_is_told_the_right_one(run: Run) -> None:
    """A target is one level down in what some services return."""
    code, (found,) = facts(run, json.dumps({"target": {"url": BARE}}))
    assert code == 1
    assert '{"url": "https://...", "param": {...}}' in found["problem"]
