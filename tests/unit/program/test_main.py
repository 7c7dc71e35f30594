"""callback_sdk.program.main: signals after the end of the program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from callback_sdk import Outbox
from callback_sdk.testing import WebhookReceiver

ROOT = Path(__file__).parents[3]

_SIGNALED = """
import os, sys
from callback_sdk.program import interruption, main

point, number, count, seconds, *arguments = sys.argv[1:]
interruption._ONE_REQUEST = float(seconds)
called = getattr(main.ProgramJob, point)

def signaled(self, *given, **options):
    found = called(self, *given, **options) if point == "_begin_sending" else None
    for _ in range(int(count)):
        os.kill(os.getpid(), int(number))
    return found if point == "_begin_sending" else called(self, *given, **options)

setattr(main.ProgramJob, point, signaled)
sys.exit(main.main(arguments))
"""

POINTS = ["_end_events", "_report", "_success_result", "_deliver"]
"""Methods that run between the end of the program and its document."""


def _run(
    tmp_path: Path, url: str, point: str, number: int, *, count: int, outbox: bool, program: str = "true"
) -> subprocess.CompletedProcess[str]:
    """Run a program, and send signals at a point after its end; each counts as a request of its own."""
    (tmp_path / "callbacks").write_text(url)
    kept = ["--outbox", str(tmp_path / "outbox")] if outbox else []
    options = ["--callbacks-file", str(tmp_path / "callbacks"), "--job-id", "42", *kept, "--", program]
    command = [sys.executable, "-c", _SIGNALED, point, str(int(number)), str(count), "0", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("point", POINTS)
def test_one_signal_loses_no_document(tmp_path: Path, webhook: WebhookReceiver, point: str, number: int) -> None:
    """Wherever it arrives before the document is sent, also Ctrl-C."""
    done = _run(tmp_path, webhook.url, point, number, count=1, outbox=False)
    assert (done.returncode, "a second signal ends this" in done.stderr) == (0, True)
    assert [request.document["success"] for request in webhook.requests] == [True]


def test_one_signal_loses_no_document_of_a_program_that_is_not_executed(
    tmp_path: Path, webhook: WebhookReceiver
) -> None:
    """SIGTERM would end the process, as it does by default."""
    done = _run(
        tmp_path, webhook.url, "_deliver", signal.SIGTERM, count=1, outbox=False, program=str(tmp_path / "none")
    )
    assert done.returncode == 127
    assert [request.document["success"] for request in webhook.requests] == [False]


@pytest.mark.parametrize("outbox", [True, False])
@pytest.mark.parametrize("point", POINTS)
def test_a_document_that_is_not_stored_is_lost_with_a_message(
    tmp_path: Path, webhook: WebhookReceiver, point: str, outbox: bool
) -> None:
    """Two signals end the process at once, and an outbox that doesn't have the document is not named."""
    done = _run(tmp_path, webhook.url, point, signal.SIGTERM, count=2, outbox=outbox)
    assert done.returncode == -signal.SIGTERM
    assert done.stderr.endswith(
        "callback-sdk exec: The delivery was interrupted. Run the job again: a target may not have its document.\n"
    )
    assert not webhook.requests


@pytest.mark.parametrize("outbox", [True, False])
def test_ctrl_c_ends_sending(tmp_path: Path, webhook: WebhookReceiver, outbox: bool) -> None:
    """An outbox has the document by then, and the message names it."""
    done = _run(tmp_path, webhook.url, "_begin_sending", signal.SIGINT, count=1, outbox=outbox)
    assert done.returncode == -signal.SIGINT
    next_step = f"callback-sdk outbox run {tmp_path / 'outbox'} --until-empty" if outbox else "Run the job again"
    assert next_step in done.stderr
    assert not webhook.requests
    if outbox:
        with Outbox(tmp_path / "outbox") as kept:
            kept.run(until_empty=True)
        assert [request.document["success"] for request in webhook.requests] == [True]
