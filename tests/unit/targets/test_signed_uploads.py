"""What the providers' own SDKs sign is recognized, and what is sent for it has the signature that was made."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from callback_sdk.documents.body import Body
from callback_sdk.errors import InvalidTargetError, TargetExpiredError
from callback_sdk.targets import Target, plan
from callback_sdk.targets.callbacks import parse_callbacks
from tests.checkers import cos, obs, oss, swift
from tests.checkers.http_store import Refusal, Request

SIGNED: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "signed_uploads.json").read_text()
)
"""Made by `tests/fixtures/signed_uploads.py` at `SIGNED_AT`, each for an hour."""

SIGNED_AT = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
NOW = SIGNED_AT + timedelta(minutes=30)
BODY = Body(b'{"job_id":"42"}')

KINDS = {
    "oss2 v1": "oss-put-v1",
    "oss2": "oss-put",
    "alibabacloud": "oss-put",
    "OSS form": "oss-post",
    "cos": "cos-put",
    "COS form": "cos-post",
    # Huawei's SDK signs like S3, too.
    "obs v2": "s3-put-v2",
    "obs v4": "s3-put",
    "obs": "obs-put",
    "OBS form": "obs-post",
    "swift": "swift-put",
}
"""Kinds by the beginning of names in the file; the first that matches."""

CHECKS: dict[str, Callable[[Request], None]] = {
    "oss-put": lambda request: oss.check_put(request, NOW),
    "oss-put-v1": lambda request: oss.check_put(request, NOW),
    "oss-post": lambda request: oss.check_form(request.form()[0], len(request.form()[1]), NOW),
    "cos-put": lambda request: cos.check_put(request, NOW),
    "cos-post": lambda request: cos.check_form(request.form()[0], len(request.form()[1]), NOW),
    "obs-put": lambda request: obs.check_put(request, NOW),
    "obs-post": lambda request: obs.check_form("results", request.form()[0], len(request.form()[1]), NOW),
    "swift-put": lambda request: swift.check_put(request, NOW, "198.51.100.7"),
}

CHECKED = [name for name in SIGNED if name not in ("obs v2", "obs v4")]
PUTS = [name for name in CHECKED if "form" not in name]


def target(name: str, change: Callable[[str], str] = lambda url: url) -> Target:
    (callback,) = parse_callbacks(change(SIGNED[name]["url"]), SIGNED[name]["param"])
    return plan(callback)


def kind_of(name: str) -> str:
    return next(kind for start, kind in KINDS.items() if name.startswith(start))


def sent(name: str, **headers: str) -> Request:
    """Return the request that would be sent."""
    upload = target(name).upload(BODY, delivery_id="msg_1", now=NOW)
    parts = urlsplit(upload.url.reveal())
    given = {"host": parts.netloc, **upload.headers.reveal(), **headers}
    return Request(upload.method, parts.path, parts.query, given, upload.body.read())


@pytest.mark.parametrize("name", SIGNED)
def test_signed_upload_is_recognized_with_its_expiry(name: str) -> None:
    """Each SDK's URLs, with tokens, metadata and signed headers, and the forms."""
    found = target(name)
    assert found.kind == kind_of(name)
    assert found.expires_at == SIGNED_AT + timedelta(hours=1)
    found.check(now=NOW, size=BODY.size)
    with pytest.raises(TargetExpiredError):
        found.check(now=SIGNED_AT + timedelta(hours=1))


@pytest.mark.parametrize("name", CHECKED)
def test_request_has_the_signature_that_the_sdk_made(name: str) -> None:
    """The checkers compute it from the request as the providers' documentation describes."""
    CHECKS[kind_of(name)](sent(name))


@pytest.mark.parametrize("name", [name for name in PUTS if name.startswith(("oss", "alibaba", "obs"))])
def test_content_type_that_was_not_signed_breaks_the_signature(name: str) -> None:
    """OSS and OBS sign its value without naming it, so none is sent unless it was given."""
    given = target(name).callback.headers
    assert ("content-type" in sent(name).headers) is (given is not None and "Content-Type" in given.reveal())
    with pytest.raises(Refusal, match="SignatureDoesNotMatch"):
        CHECKS[kind_of(name)](sent(name, **{"content-type": "text/other"}))


@pytest.mark.parametrize("name", PUTS)
def test_url_without_one_of_its_parameters_is_refused(name: str) -> None:
    """Whichever is lost, the URL is neither used nor taken for a webhook."""
    url = SIGNED[name]["url"]
    query = urlsplit(url).query.split("&")
    optional = ("security-token", "x-oss-security-token", "q-url-param-list", "q-header-list", "temp_url_prefix")
    for lost in query:
        if lost.partition("=")[0] in (*optional, "temp_url_ip_range", "x-oss-additional-headers"):
            continue
        rest = "&".join(part for part in query if part != lost)
        with pytest.raises(InvalidTargetError, match="is incomplete"):
            target(name, lambda _, rest=rest: f"{url.partition('?')[0]}?{rest}")  # type: ignore[misc]


@pytest.mark.parametrize("name", PUTS)
def test_signature_that_is_cut_off_is_refused(name: str) -> None:
    """Without its last character it is no signature."""
    names = ("Signature", "x-oss-signature", "q-signature", "temp_url_sig")
    query = urlsplit(SIGNED[name]["url"]).query
    signed = next(part for part in query.split("&") if part.partition("=")[0] in names)
    with pytest.raises(InvalidTargetError, match="is incomplete"):
        target(name, lambda url: url.replace(signed, signed.removesuffix("%3D")[:-1]))
