"""`callback-sdk sign`: what it takes, prints and ends with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from callback_sdk.testing import ObjectStore

Run = Callable[..., tuple[int, str, str]]

BARE = "https://bucket.s3.eu-central-1.amazonaws.com/runs/1.json"


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


def test_multipart_prints_every_url_for_submit_and_check(run: Run, tmp_path: Path) -> None:
    """One request starts the upload; the check names sizes and object, and no credential."""
    with ObjectStore() as store:
        place = ("s3://bucket/runs/1.json", "--endpoint-url", store.endpoint_url, "--region", "eu-central-1")
        sizes = ("--max-bytes", "20000000", "--part-size", "8000000")
        code, out, err = run("sign", "multipart", *place, *sizes, "--if-none-match")
        assert (code, err) == (0, "")
        (target,) = json.loads(out)
        assert (len(target["param"]["s3_parts"]["urls"]), store.uploads) == (3, 1)
        (tmp_path / "target.json").write_text(out)
        code, out, _ = run("check", "target.json", "--json")
        (facts,) = json.loads(out)
        assert (code, facts["kind"], facts["method"], facts["problem"]) == (0, "s3-multipart", "POST", None)
        assert facts["parts"] == "3 of 8000000 bytes"
        assert facts["headers"] == ["if-none-match"]
        assert "Signature=" not in out


def test_multipart_needs_a_maximum_size(run: Run) -> None:
    """The number of parts follows from it."""
    code, _, err = run("sign", "multipart", "bucket/key", "--region", "eu-central-1")
    assert (code, "--max-bytes" in err) == (2, True)
    code, _, err = run(
        "sign", "multipart", "bucket/key", "--region", "eu-central-1", "--max-bytes", "1", "--part-size", "1"
    )
    assert (code, "5 MiB" in err) == (1, True)
