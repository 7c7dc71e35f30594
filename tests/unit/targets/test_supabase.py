"""Signed upload URLs of Supabase Storage."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timezone
from typing import Any

import pytest

from callback_sdk.documents.body import Body
from callback_sdk.errors import InvalidTargetError, WrongOperationError
from callback_sdk.targets import Target, plan
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.upload import Upload

NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def target(url: str, param: Any = None) -> Target:
    (callback,) = parse_callbacks(url, param)
    return plan(callback)


BODY = Body(b'{"job_id":"42"}')
SUPABASE = "https://abcdefgh.supabase.co/storage/v1/object/upload/sign/results/runs/42%20a.json"


def upload(url: str, param: Any = None) -> Upload:
    return target(url, param).upload(BODY, delivery_id="msg_1", now=NOW)


def jwt(**claims: Any) -> str:
    parts = [{"alg": "HS256", "typ": "JWT"}, claims]
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*texts, "c2lnbmF0dXJl"])


def test_supabase_token_has_the_expiry() -> None:
    """It is a JWT for one object."""
    url = f"{SUPABASE}?token={jwt(url='results/runs/42 a.json', exp=1767272400, upsert=True)}"
    sent = upload(url)
    assert (sent.kind, sent.method, sent.accepts) == ("supabase-put", "PUT", {200})
    assert sent.expires_at == datetime(2026, 1, 1, 13, tzinfo=timezone.utc)
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
        target(f"https://abcdefgh.supabase.co/storage/v1/{path}?token={jwt(exp=1767272400)}")
