"""Deliveries that an earlier version accepted and this one can't use."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from callback_sdk import JobResult, Outbox
from callback_sdk.testing import WebhookReceiver

RESULT = JobResult(job_id="42", success=True, results={"life": [7.5]})
CLOSED = "http://127.0.0.1:9/closed"


@pytest.mark.parametrize(
    "url",
    [
        "https://s3" + "-a" * 32,
        "https://s3" + "-a" * 100_000,
        "https://a" + "\u0315\u0300" * 100_000,
        "http://127.0.0.1:9/b/k?AWSAccessKeyId=A&Signature=s&Expires=4000000000&partNumber=1&uploadId=u",
    ],
    ids=["a long label", "a long host", "combining characters", "a part of an upload"],
)
def test_stored_target_that_is_unusable_is_given_up(tmp_path: Path, webhook: WebhookReceiver, url: str) -> None:
    """It is dead with the reason, and the deliveries beside it are made."""
    path = tmp_path / "outbox.sqlite3"
    with Outbox(path) as outbox:
        (entry,) = outbox.write(RESULT, CLOSED).pending
    with closing(sqlite3.connect(path)) as database, database:
        change = "UPDATE deliveries SET target = ?, next_attempt = 0"
        database.execute(change, (json.dumps({"url": url, "param": {}}),))
    with Outbox(path) as outbox:
        outbox.write(RESULT, webhook.url)
        outbox.run(until_empty=True)
        states = {each.delivery_id: each.state for each in outbox.entries()}
        (dead,) = outbox.entries(state="dead")
    assert dead.delivery_id == entry.delivery_id
    assert "callback URL" in str(dead.error) or "was signed for" in str(dead.error)
    assert sorted(states.values()) == ["dead", "delivered"]
