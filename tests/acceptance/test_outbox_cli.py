"""`callback-sdk outbox`: output, exit codes, and the state of the file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from callback_sdk import JobResult, Outbox, webhooks
from callback_sdk.errors import DeliveryError
from callback_sdk.receipt import Receipt
from callback_sdk.testing import WebhookReceiver
from tests.commands import run_here

ROOT = Path(__file__).parents[2]
MARKER = "MARKER51bd"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def _start(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "callback_sdk.cli", "outbox", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    if arguments[0] == "run":
        with _start(*arguments, environment=environment) as process:
            out, err = process.communicate(timeout=120)
        run = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    else:
        run = run_here(["outbox", *map(str, arguments)], environment=environment or {})
    assert "Traceback" not in run.stderr
    assert MARKER not in run.stdout + run.stderr
    return run


def _write(path: Path, url: str, job_id: str = "42") -> None:
    with Outbox(path) as outbox:
        outbox.write(JobResult(job_id=job_id, success=True, results=[1]), f"{url}?token={MARKER}")


def _write_dead(path: Path, webhook: WebhookReceiver, job_id: str) -> None:
    webhook.respond(410)
    with pytest.raises(DeliveryError):
        _write(path, webhook.url, job_id)


@pytest.fixture
def path(tmp_path: Path, webhook: WebhookReceiver) -> Path:
    """Make an outbox with one delivery that is pending."""
    path = tmp_path / "outbox.sqlite3"
    webhook.respond(503)
    _write(path, webhook.url)
    return path


def test_run_sends_pending_deliveries(path: Path, webhook: WebhookReceiver) -> None:
    """`redeliver` makes a delivery due; `run` sends it with the secrets of the environment, and exits after that."""
    assert _run("redeliver", path, "--all").stdout == "1 delivery is due now.\n"
    run = _run("run", path, "--until-empty", environment={"CALLBACK_SDK_WEBHOOK_SECRETS": SECRET})
    assert run.returncode == 0
    request = webhook.requests[-1]
    assert webhooks.verify(SECRET, request.headers, request.body) == webhook.requests[0].headers["webhook-id"]


def test_run_ends_with_3_when_something_is_dead(path: Path, webhook: WebhookReceiver) -> None:
    """A cron job's monitoring sees it; and so does the command that shows the dead ones."""
    webhook.respond(410)
    assert _run("list", path, "--status", "dead").returncode == 0
    _run("redeliver", path, "--all")
    assert _run("run", path, "--until-empty").returncode == 3
    dead = _run("list", path, "--status", "dead", "--json")
    assert dead.returncode == 3
    (entry,) = json.loads(dead.stdout)
    assert _run("redeliver", path, entry["delivery_id"]).returncode == 0
    assert _run("run", path, "--until-empty").returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_run_continues_until_a_signal(path: Path, webhook: WebhookReceiver, number: int, code: int) -> None:
    """Without --until-empty it waits for new deliveries, and exits cleanly on a signal."""
    with _start("run", path) as process:
        with Outbox(path) as outbox:
            outbox.redeliver()
        webhook.wait_for(2)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    assert MARKER not in err


def test_run_that_is_stopped_before_it_is_empty_is_no_success(path: Path, webhook: WebhookReceiver) -> None:
    """`run --until-empty && next` must not go on."""
    webhook.respond(503)
    _run("redeliver", path, "--all")
    with _start("run", path, "--until-empty") as process:
        webhook.wait_for(2)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in err


def test_run_with_a_guard_rejects_private_addresses(path: Path, webhook: WebhookReceiver) -> None:
    """The address guard and its exceptions are the same as the service's."""
    _run("redeliver", path, "--all")
    assert _run("run", path, "--until-empty", "--block-private-networks").returncode == 3
    _run("redeliver", path, "--all")
    allowed = _run("run", path, "--until-empty", "--block-private-networks", "--allow-network", "127.0.0.0/8:*")
    assert allowed.returncode == 0
    assert len(webhook.requests) == 2


def test_list_shows_states_in_words_and_as_json(path: Path, webhook: WebhookReceiver) -> None:
    """One line each in a pipe, whole and without credentials; the JSON has times and receipts."""
    _write(path, webhook.url, "43")
    _write_dead(path, webhook, "44")
    shown = _run("list", path)
    lines = shown.stdout.splitlines()
    assert shown.returncode == 0
    assert [line.split("\t")[1:4] for line in lines] == [
        ["42", "pending", "1"],
        ["43", "delivered", "1"],
        ["44", "dead", "1"],
    ]
    assert f"{webhook.url}?***" in lines[0]
    entries = json.loads(_run("list", path, "--json").stdout)
    assert datetime.fromisoformat(entries[0]["next_attempt_at"]) > datetime.fromisoformat(entries[0]["created_at"])
    assert "503" in entries[0]["error"]
    assert Receipt.from_dict(entries[1]["receipt"]).status == 200
    assert [entry["job_id"] for entry in json.loads(_run("list", path, "--json", "--status", "dead").stdout)] == ["44"]


def test_purge_deletes_old_receipts(path: Path, webhook: WebhookReceiver) -> None:
    """Only of delivered results, and only if they are old enough."""
    _write(path, webhook.url, "43")
    assert _run("purge", path, "--older-than", "1d").stdout == "Deleted 0 receipts.\n"
    assert _run("purge", path, "--older-than", "1ms").stdout == "Deleted 1 receipt.\n"
    with Outbox(path) as outbox:
        assert [entry.job_id for entry in outbox.entries()] == ["42"]
        assert outbox.purge(older_than=timedelta(milliseconds=1)) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list"], "PATH"),
        (["redeliver", "{path}"], "--all"),
        (["redeliver", "{path}", "msg_1", "--all"], "--all"),
        (["list", "{path}", "--status", "lost"], "dead"),
        (["purge", "{path}"], "--older-than"),
        (["purge", "{path}", "--older-than", "soon"], "--older-than"),
        (["run", "{path}", "--allow-network", "10.0.0.0/8"], "--block-private-networks"),
    ],
)
def test_wrong_usage_ends_with_2(path: Path, arguments: list[str], said: str) -> None:
    """The error names the missing or wrong argument."""
    run = _run(*(argument.format(path=path) for argument in arguments))
    assert run.returncode == 2
    assert said in run.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["list", "--status", "dead"],
        ["run", "--until-empty"],
        ["redeliver", "--all"],
        ["purge", "--older-than", "1d"],
    ],
)
def test_typo_in_the_path_is_one_clear_error(tmp_path: Path, arguments: list[str]) -> None:
    """No command makes an outbox by accident."""
    command, *options = arguments
    run = _run(command, tmp_path / "typo", *options)
    assert run.returncode == 1
    assert run.stderr.startswith("Error: ")
    assert "typo does not exist" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_unknown_id_is_one_clear_error(path: Path) -> None:
    """It says how to find the right one."""
    run = _run("redeliver", path, "msg_0")
    assert run.returncode == 1
    assert "outbox list" in run.stderr


def test_run_creates_an_outbox_only_with_an_option(tmp_path: Path) -> None:
    """So `run` can be started before the first worker."""
    assert _run("run", tmp_path / "new" / "box", "--until-empty", "--create").returncode == 0
    assert (tmp_path / "new" / "box").exists()


def test_help_of_the_outbox_is_quick(tmp_path: Path) -> None:
    """The help loads neither the sender nor the database."""
    script = "import sys, callback_sdk.cli as c; c.main(['outbox', '--help']); print([*sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = run.stdout.splitlines()[-1]
    for name in ("callback_sdk.outbox", "callback_sdk.transport.http", "sqlite3", "boto3", "orjson"):
        assert f"'{name}'" not in loaded
