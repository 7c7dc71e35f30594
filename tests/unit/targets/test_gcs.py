"""Session URIs of Google's resumable uploads."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from callback_sdk.documents.body import Body
from callback_sdk.errors import WrongOperationError
from callback_sdk.targets import Target, plan
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.multipart import SessionTarget

NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def target(url: str, param: Any = None) -> Target:
    (callback,) = parse_callbacks(url, param)
    return plan(callback)


BODY = Body(b'{"job_id":"42"}')
SESSION = f"https://storage.googleapis.com/results/42.json?upload_id={'A' * 80}"
GOOGLE_JSON = "https://www.googleapis.com/upload/storage/v1/b/results/o"


@pytest.mark.parametrize(
    ("url", "stored"),
    [
        (SESSION, "https://storage.googleapis.com/results/42.json"),
        (f"{SESSION}&X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Signature=abc", SESSION.partition("?")[0]),
        (f"{GOOGLE_JSON}?uploadType=resumable&name=42.json&upload_id={'A' * 80}", None),
    ],
)
def test_google_session_takes_a_small_document_in_one_put(url: str, stored: str | None) -> None:
    """Its range is that of the whole document, whose MD5 Google compares; 308 is no redirect."""
    session = target(url).in_parts(BODY.size, None)
    assert isinstance(session, SessionTarget)
    sent = session.send_from(0, BODY, now=NOW)
    assert (sent.kind, sent.method, sent.accepts, sent.redirects) == ("gcs-session", "PUT", {200, 201}, False)
    assert sent.url.reveal() == url
    assert sent.headers.reveal() == {
        "content-type": "application/json",
        "content-range": f"bytes 0-{BODY.size - 1}/{BODY.size}",
        "x-goog-hash": f"md5={BODY.content_md5}",
    }
    assert target(url).object_url("x") == stored


def test_start_of_a_google_session_is_refused() -> None:
    """It is answered with the session's URI, and nothing is stored."""
    url = "https://storage.googleapis.com/upload/storage/v1/b/results/o?uploadType=resumable&name=42.json"
    with pytest.raises(WrongOperationError, match="only starts a resumable upload") as caught:
        target(url)
    assert 'method="PUT"' in caught.value.hint
