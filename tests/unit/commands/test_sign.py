"""`callback-sdk sign`: what it takes, prints and ends with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
