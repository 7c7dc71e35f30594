"""Runs `callback-sdk exec`, and reads what it has delivered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from callback_sdk.testing import WebhookReceiver
from tests.conftest import missing_server

ROOT = Path(__file__).parents[2]
SECRET = "MARKER51bd"
"""A credential in all targets, which no output may have."""

OWN_MOUNTS = ("unshare", "--mount", "--map-root-user")
OWN_PROCESSES = (*OWN_MOUNTS, "--pid", "--fork", "--mount-proc")
"""Programs that run another one as in a container, with their arguments."""

COMMAND = (sys.executable, "-m", "callback_sdk.cli", "exec")


@pytest.fixture
def namespaces() -> None:
    """Skip the test where a process can't have namespaces of its own."""
    tried = subprocess.run([*OWN_PROCESSES, "true"], capture_output=True, check=False)
    if tried.returncode:
        missing_server(f"Namespaces are missing: {tried.stderr.decode().strip()}")


def write_callbacks(folder: Path, webhook: WebhookReceiver) -> Path:
    """Write the file of targets, and return its path."""
    path = folder / "callbacks.json"
    path.write_text(json.dumps({"url": f"{webhook.url}?token={SECRET}", "param": {"run": 7}}))
    return path


def start_exec(*arguments: object, before: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[bytes]:
    """Start the command.

    Args:
        arguments: Its arguments.
        before: The program that starts it, with its arguments.
        options: Those of Popen; `environment` has variables in addition to those of this process.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | options.pop("environment", {})
    return subprocess.Popen(
        [*before, *COMMAND, *map(str, arguments)],
        env=environment,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def run_exec(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end."""
    with start_exec(*arguments, **options) as process:
        out, err = process.communicate(timeout=120)
    printed = (out or b"") + (err or b"")
    assert b"Traceback" not in printed
    assert SECRET.encode() not in printed
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def document_of(webhook: WebhookReceiver) -> dict[str, Any]:
    """Return the one document that was delivered."""
    (request,) = webhook.requests
    found: dict[str, Any] = json.loads(request.body)
    return found


def wait_for(path: Path) -> None:
    """Wait until a file exists."""
    end = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} was not written"
        time.sleep(0.02)
