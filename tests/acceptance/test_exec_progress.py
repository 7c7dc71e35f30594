"""The progress of programs that `callback-sdk exec` runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from callback_sdk.testing import WebhookReceiver
from tests.acceptance.exec_command import document_of, run_exec, start_exec, write_callbacks

REPORT = f"{sys.executable} -m callback_sdk.cli progress"


def test_targets_that_subscribe_to_events_get_the_progress(tmp_path: Path, webhook: WebhookReceiver) -> None:
    """That the program has started, the progress that it writes, the last one before its end, and then the document."""
    callbacks, go = tmp_path / "callbacks.json", tmp_path / "go"
    events = {"run": 7, "events": ["started", "progress", "completed"]}
    callbacks.write_text(json.dumps({"url": webhook.url, "param": events}))
    script = f"while ! [ -e {go} ]; do sleep 0.1; done; {REPORT} 0.25 reading  data; {REPORT} 50% half; {REPORT} x || :"
    with start_exec("--callbacks-file", callbacks, "--job-id", "42", "--", "sh", "-c", script) as process:
        webhook.wait_for(1)
        go.touch()
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert err.startswith(b"Usage: callback-sdk progress FRACTION [MESSAGE]")
    *before, last = [request.document for request in webhook.requests]
    assert (last["status"], last["success"]) == ("Finished", True)
    assert {document["status"] for document in before} == {"In Progress"}
    assert before[-1]["progress"] == {"fraction": 0.5, "message": "half"}
    assert [document["sequence"] for document in before] == list(range(1, len(before) + 1))


def test_nobody_asks_for_the_progress_of_other_programs(tmp_path: Path, webhook: WebhookReceiver) -> None:
    """The command does nothing then, so scripts run as before."""
    callbacks = write_callbacks(tmp_path, webhook)
    script = f'[ -z "$CALLBACK_SDK_PROGRESS" ] && {REPORT} 0.5 half'
    environment = {"CALLBACK_SDK_PROGRESS": "/nonexistent/of/another/job"}
    run = run_exec("--callbacks-file", callbacks, "--job-id", "42", "--", "sh", "-c", script, environment=environment)
    assert (run.returncode, run.stdout + run.stderr) == (0, b"")
    assert document_of(webhook)["success"] is True
