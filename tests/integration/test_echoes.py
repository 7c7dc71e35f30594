"""A receiver that quotes a request in any spelling and place discloses no credential, wherever an outcome is shown."""

from __future__ import annotations

import io
import json
import logging
import random
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from callback_sdk import JobResult, Outbox, ResultsWriter, cli
from callback_sdk.errors import CallbackSDKError
from callback_sdk.text.escaping import LogFormatter
from tests.echoes import TARGETS, echoing, leaked, planted
from tests.integration.browsers import Browser
from tests.rawserver import RawServer
from tests.topology import Topology, wait_until

RESULT = JobResult(job_id="42", success=True, results={"a": 1})

SEED = 20
"""Change it for other credentials, spellings and places."""

ATTEMPTS = 12
"""Attempts at each kind of target. The receiver quotes each in another spelling and place."""

ENCRYPTED = {"target", "encrypted_target", "encrypted_value"}
"""Columns with credentials: in the service's database encrypted, in an outbox until the delivery is made."""


def shown(error: BaseException) -> str:
    """Return all that people see of an error, without the frame of the test itself."""
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    whole = traceback.TracebackException(type(error), error, frames, capture_locals=True)
    chain = list(whole.format())
    link: BaseException | None = error
    while link is not None:
        chain += [str(link), repr(link), repr(vars(link))]
        link = link.__cause__ or link.__context__
    return "\n".join(chain)


def endpoints(name: str, server: RawServer) -> list[str]:
    """Return the storage endpoints without which a target isn't recognized."""
    return [server.url] if name == "oracle-par" else []


def readable(database: Path) -> str:
    """Return all columns of a SQLite database but the encrypted ones."""
    connection = sqlite3.connect(database)
    connection.row_factory = sqlite3.Row
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = [dict(row) for name in names for row in connection.execute(f"SELECT * FROM {name}")]
    connection.close()
    return str([{name: value for name, value in row.items() if name not in ENCRYPTED} for row in rows])


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Collect every log record at DEBUG, as text and with all its attributes."""
    stream = io.StringIO()
    text, attributes = logging.StreamHandler(stream), logging.StreamHandler(stream)
    text.setFormatter(LogFormatter("%(message)s"))
    attributes.format = lambda record: json.dumps(vars(record), default=str)  # type: ignore[method-assign]
    root, level = logging.getLogger(), logging.getLogger().level
    for handler in (text, attributes):
        root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.setLevel(level)
    for handler in (text, attributes):
        root.removeHandler(handler)


@pytest.mark.parametrize("name", TARGETS)
def test_writer_shows_no_credential(name: str, logged: io.StringIO) -> None:
    """Neither in errors with their causes and frames, nor in receipts and logs."""
    chance = random.Random(f"{SEED} {name}")
    failures = 0
    with echoing(chance) as server, ResultsWriter(timeout=0.01, storage_endpoints=endpoints(name, server)) as writer:
        for _ in range(ATTEMPTS):
            target = planted(name, server.url, chance)
            try:
                said = str([receipt.to_dict() for receipt in writer.write(RESULT, target.url, target.param)])
            except CallbackSDKError as error:
                said = shown(error)
                failures += 1
            assert leaked(said + logged.getvalue(), target.secrets) is None
            logged.seek(0)
            logged.truncate()
    assert failures


@pytest.mark.parametrize("name", TARGETS)
def test_outbox_and_commands_show_no_credential(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the readable columns of the outbox's file, nor in the output of `outbox`, `check` and `send`."""
    chance = random.Random(f"{SEED} {name} outbox")
    document, place = tmp_path / "document.json", tmp_path / "target.json"
    document.write_text('{"job_id": "42", "success": true, "results": {"a": 1}}')
    secrets: list[str] = []
    with echoing(chance) as server:
        monkeypatch.setenv("CALLBACK_SDK_STORAGE_ENDPOINTS", " ".join(endpoints(name, server)))
        writer = ResultsWriter(storage_endpoints=endpoints(name, server))
        with writer, Outbox(tmp_path / "outbox.sqlite3", writer=writer) as outbox:
            said = ""
            for number in range(ATTEMPTS // 4):
                target = planted(name, server.url, chance)
                secrets += target.secrets
                try:
                    said += str(outbox.write(JobResult(job_id=str(number), success=True), target.url, target.param))
                except CallbackSDKError as error:
                    said += shown(error)
                place.write_text(json.dumps({"url": target.url, "param": target.param}))
                cli.main(["check", str(place), "--no-resolve"])
                cli.main(["send", str(document), str(place), "--timeout", "1ms"])
        for arguments in (["list"], ["list", "--json"], ["list", "--status", "dead"]):
            cli.main(["outbox", *arguments, str(tmp_path / "outbox.sqlite3")])
    output = "".join(capsys.readouterr())
    assert "127.0.0.1" in output
    assert leaked(said + output + readable(tmp_path / "outbox.sqlite3"), secrets) is None


@pytest.mark.skipif(sys.platform != "linux", reason="the service runs on Linux only")
def test_service_shows_no_credential(tmp_path: Path) -> None:
    """Neither in the REST API, on pages, in the output of commands and the log, nor in readable columns."""
    chance = random.Random(f"{SEED} service")
    settings = {"LOG_FORMAT": "json", "LOG_LEVEL": "DEBUG"}
    with (
        echoing(chance) as receiver,
        Topology(tmp_path, "disclosure_jobs:registry", processes=1, settings=settings) as topology,
        topology.client() as client,
    ):
        names = [name for name in TARGETS if not endpoints(name, receiver)]
        targets = [planted(name, receiver.url, chance) for name in names]
        secrets = [secret for target in targets for secret in target.secrets]
        tasks = [
            client.run_algorithm("curious", {"a": [1]}, callbacks=[(target.url, target.param or {})])
            for target in targets
        ]
        for task in tasks:
            task.wait(timedelta(seconds=60), progress=False)
        wait_until(
            lambda: all(client.get_deliveries(task.job_id)[0].attempt_count for task in tasks), what="the attempts"
        )
        browser = Browser(topology)
        browser.log_in()
        said = browser.page("/deliveries")
        for task in tasks:
            said += browser.page(f"/tasks/{task.job_id}")
            said += str([vars(delivery) if hasattr(delivery, "__dict__") else delivery for delivery in task.deliveries])
        said += raw(topology, f"/algorithms/tasks/{tasks[0].job_id}") + raw(topology, "/algorithms/tasks")
        said += "".join(raw(topology, f"/algorithms/tasks/{task.job_id}/deliveries") for task in tasks)
        said += printed(topology, "tasks") + printed(topology, "deliveries", tasks[0].job_id)
    (database,) = topology.data.glob("*.sqlite3")
    assert "127.0.0.1" in said
    assert leaked(said + topology.log + readable(database), secrets) is None


def raw(topology: Topology, path: str) -> str:
    browser = Browser(topology)
    headers = {"Authorization": f"Bearer {browser.token}"}
    return browser.get(f"{browser.origin}/api/v2{path}", headers=headers, timeout=60).text


def printed(topology: Topology, *arguments: str) -> str:
    browser = Browser(topology)
    credentials = {"CALLBACK_SDK_URL": browser.origin, "CALLBACK_SDK_TOKEN": browser.token}
    command = [sys.executable, "-m", "callback_sdk.cli", *arguments]
    done = subprocess.run(
        command, env=topology.environment | credentials, capture_output=True, timeout=120, check=False
    )
    return done.stdout.decode() + done.stderr.decode()
