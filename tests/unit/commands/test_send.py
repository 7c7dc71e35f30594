"""`callback-sdk send`: what it takes, prints and ends with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from callback_sdk.testing import WebhookReceiver

Run = Callable[..., tuple[int, str, str]]

BARE = "https://bucket.s3.eu-central-1.amazonaws.com/runs/1.json"
DOCUMENT = {"job_id": "42", "status": "Finished", "callback_param": {}, "success": True, "results": {"life": 7.5}}


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


def test_webhook_that_looks_signed_gets_its_url_unchanged(run: Run, tmp_path: Path) -> None:
    """With the option, which is not a part of the document; without it nothing is sent."""
    (tmp_path / "results.json").write_text('{"life": 7.5}')
    query = "title=a&amp;b&sr=b&sig=UmFuZG9tIHRoaXJ0eSB0d28gYnl0ZXMgcmFuZG9tIDQ%3D"
    with WebhookReceiver() as receiver:
        command = ("send", "results.json", f"{receiver.url}?{query}", "--job-id", "42")
        code, _, err = run(*command)
        assert code == 1
        assert 'add "webhook": true to its callback_param' in " ".join(err.split())
        assert run(*command, "--webhook")[0] == 0
        (request,) = receiver.wait_for(1)
    assert request.path.partition("?")[2] == query
    assert request.document == DOCUMENT


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
