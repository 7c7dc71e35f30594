"""`callback-sdk check`: what it takes, prints and ends with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.signedurls import v4

Run = Callable[..., tuple[int, str, str]]

BARE = "https://bucket.s3.eu-central-1.amazonaws.com/runs/1.json"


def signed(run: Run, *options: str, kind: str = "put") -> str:
    code, out, err = run("sign", kind, "s3://bucket/runs/1.json", "--region", "eu-central-1", *options)
    assert (code, err) == (0, "")
    return out


def facts(run: Run, target: str, *options: str) -> tuple[int, list[dict[str, Any]]]:
    code, out, err = run("check", "-", "--json", *options, stdin=target)
    assert err == ""
    return code, json.loads(out)


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


def test_json_of_another_form_is_told_the_right_one(run: Run) -> None:
    """A target is one level down in what some services return."""
    code, (found,) = facts(run, json.dumps({"target": {"url": BARE}}))
    assert code == 1
    assert '{"url": "https://...", "param": {...}}' in found["problem"]
