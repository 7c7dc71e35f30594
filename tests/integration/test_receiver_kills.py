"""Receivers that are killed while a result is handled: the next attempt is accepted, and no stored result is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from callback_sdk.receivers import Inbox, ReceivedResult, Receiver, SQLiteIds

ROOT = Path(__file__).parents[2]
BODY = json.dumps(
    {"job_id": "42", "status": "Finished", "callback_param": {}, "success": True, "results": [1.5]}
).encode()
HEADERS = {"Authorization": "Bearer t0ken", "webhook-id": "msg_1"}

PROGRAM = """
import os, signal, sys
from callback_sdk.receivers import Inbox, Receiver, SQLiteIds

def die(result=None):
    os.kill(os.getpid(), signal.SIGKILL)

headers, body = {headers!r}, {body!r}
{program}
"""

WHILE_HANDLED = """
Receiver(die, secrets=None, headers={"Authorization": "Bearer t0ken"}, ids=SQLiteIds("ids")).receive(headers, body)
"""
AFTER_RESPONSE = """
receiver = Receiver(Inbox("inbox").put, secrets=None, headers={"Authorization": "Bearer t0ken"})
sys.stdout.write(str(receiver.receive(headers, body).status))
sys.stdout.flush()
die()
"""
WHILE_WORKING = """
Inbox("inbox").run(die)
"""


def run_and_die(program: str, folder: Path) -> str:
    """Run a program that kills itself, and return its output."""
    text = PROGRAM.format(headers=HEADERS, body=BODY, program=program)
    ran = subprocess.run(
        [sys.executable, "-c", text],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == -9, ran.stderr
    return ran.stdout


def test_a_delivery_is_accepted_again_after_its_receiver_was_killed(tmp_path: Path) -> None:
    """Not at once, as its handler might still run elsewhere, but after the lease."""
    run_and_die(WHILE_HANDLED, tmp_path)
    found: list[ReceivedResult] = []
    headers = {"Authorization": "Bearer t0ken"}
    receiver = Receiver(found.append, secrets=None, headers=headers, ids=SQLiteIds(tmp_path / "ids"))
    assert receiver.receive(HEADERS, BODY).status == 503
    run_and_die(WHILE_HANDLED.replace('"ids"', '"short", lease=0.001'), tmp_path)
    receiver = Receiver(found.append, secrets=None, headers=headers, ids=SQLiteIds(tmp_path / "short"))
    while receiver.receive(HEADERS, BODY).status == 503:
        pass
    assert [one.job_id for one in found] == ["42"]


def test_what_an_inbox_has_acknowledged_is_never_lost(tmp_path: Path) -> None:
    """Neither when the receiver is killed after its response, nor when a handler is."""
    assert run_and_die(AFTER_RESPONSE, tmp_path) == "200"
    run_and_die(WHILE_WORKING.replace('"inbox"', '"inbox", lease=0.001'), tmp_path)
    inbox, found = Inbox(tmp_path / "inbox"), []
    while not inbox.handle_next(found.append):
        assert inbox.pending() == 1
    assert [one.document for one in found] == [BODY]
    assert inbox.pending() == 0
