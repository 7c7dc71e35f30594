"""`callback-sdk doctor`: what it finds, and what it says to do."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from callback_sdk.commands import findings, machine_checks, service_checks
from callback_sdk.commands.findings import Finding, run_all
from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret
from callback_sdk.service.store import Store, open_database
from callback_sdk.service.store.cipher import CredentialCipher, ensure_keys, new_key
from callback_sdk.testing import WebhookReceiver
from tests.unit.client.fake import FakeService
from tests.unit.client.jobs import TOKEN

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make the data directory of a service that isn't running."""
    data = tmp_path / "data"
    data.mkdir()
    Store(
        open_database(Secret(f"sqlite:///{data / 'store.sqlite3'}")),
        CredentialCipher(ensure_keys(data / "keys")),
    ).close()
    return data


@pytest.fixture
def service() -> Iterator[FakeService]:
    """Run a service that is ready."""
    fake = FakeService()
    fake.script["GET", "/readyz"] = [fake.Say(data={"status": True})]
    fake.on("GET", "/algorithms/tasks?limit=1", fake.Say(data={"tasks": [], "next_cursor": None}))
    yield fake
    fake.close()


class Clock:
    """A clock that is fast.

    Args:
        ahead: By how many seconds.
    """

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead

    def time(self) -> float:
        return time.time() + self._ahead


def diagnose(run: Run, *arguments: object) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """Return the exit code and the findings of each check."""
    code, out, err = run("doctor", "--json", *map(str, arguments))
    assert err == ""
    found: dict[str, list[dict[str, str]]] = {}
    for one in json.loads(out):
        found.setdefault(one["check"], []).append(one)
    return code, found


def statuses(found: dict[str, list[dict[str, str]]]) -> set[str]:
    return {one["status"] for lines in found.values() for one in lines}


def test_a_new_machine_is_fine(run: Run) -> None:
    """Nothing is configured, and nothing is created."""
    code, found = diagnose(run)
    assert code == 0
    assert list(found) == [
        *("versions", "extras", "environment", "service", "clock"),
        *("disk", "database", "broker", "blob storage", "keys"),
    ]
    assert "failure" not in statuses(found)
    assert list(Path.cwd().iterdir()) == []


def test_a_service_is_fine(run: Run, folder: Path, service: FakeService) -> None:
    """Its directory, and its URL with the token."""
    (folder.parent / "token").write_text(TOKEN)
    code, found = diagnose(run, "--data-dir", folder, "--url", service.url, "--token-file", folder.parent / "token")
    assert code == 0
    assert "responds, with revision" in found["database"][0]["message"]
    assert found["keys"][0]["message"] == "The encryption keys are those of the database."
    assert found["service"][0]["message"] == f"http://{service.host} is ready, and accepts the token."


def test_lines_are_for_people_too(run: Run) -> None:
    """One for each finding."""
    code, out, _ = run("doctor")
    lines = [line.split("\t") for line in out.splitlines()]
    assert code == 0
    assert {len(line) for line in lines} == {3}
    assert lines[0][:2] == ["ok", "versions"]


@pytest.mark.parametrize(
    ("variables", "check", "status", "said"),
    [
        ({"CALLBACK_SDK_BROKR": "x"}, "environment", "warning", "Did you mean CALLBACK_SDK_BROKER?"),
        ({"CALLBACK_SDK_RETENTION": "90"}, "environment", "failure", "CALLBACK_SDK_RETENTION has an invalid value"),
        ({"CALLBACK_SDK_ENGINE": "celery"}, "broker", "failure", "there is no broker"),
        ({"CALLBACK_SDK_BROKER": "amqp://u:MARKER@127.0.0.1:9//"}, "broker", "failure", "broker"),
        ({"CALLBACK_SDK_BROKER": "http://u:MARKER@h"}, "broker", "failure", "neither amqp:// nor redis://"),
        ({"CALLBACK_SDK_DATABASE": "postgresql://u:MARKER@127.0.0.1:9/x"}, "database", "failure", "unavailable"),
        ({"CALLBACK_SDK_DATABASE": "postgresql://u:MARKER@127.0.0.1:9/x"}, "keys", "failure", "no encryption keys"),
        ({"CALLBACK_SDK_ENCRYPTION_KEYS": "MARKER"}, "keys", "failure", "key"),
        ({"CALLBACK_SDK_WEBHOOK_SECRETS": "whsec_MARKER!"}, "keys", "failure", "secret"),
        ({"CALLBACK_SDK_URL": "http://127.0.0.1:9", "CALLBACK_SDK_TOKEN": "MARKER"}, "service", "failure", "refused"),
        ({"CALLBACK_SDK_URL": "http://u:MARKER@h/"}, "service", "failure", "can't be requested"),
        ({"CALLBACK_SDK_BLOB_STORAGE": "s3://MARKER-bucket/x"}, "blob storage", "failure", "bucket"),
        ({"CALLBACK_SDK_DATA_DIR": "no/such/parent"}, "disk", "failure", "The parent of the data directory"),
    ],
)
def test_what_does_not_work_is_a_line(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    check: str,
    status: str,
    said: str,
) -> None:
    """With what to do, and without credentials. Other checks are made all the same."""
    monkeypatch.setattr(findings, "TIMEOUT", 60)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code, found = diagnose(run)
    assert code == (1 if status == "failure" else 0)
    lines = [one for one in found[check] if one["status"] == status]
    assert any(said in one["message"] for one in lines)
    assert all(one["hint"] for one in lines)
    assert found["versions"][0]["status"] == "ok"
    if "s3:" not in str(variables):
        assert "MARKER" not in json.dumps(found)


def test_other_keys_than_those_of_the_database(run: Run, folder: Path) -> None:
    """Its credentials could not be read."""
    (folder / "keys").write_text(new_key().reveal())
    code, found = diagnose(run, "--data-dir", folder)
    assert code == 1
    assert "other keys" in found["keys"][0]["message"]


def test_keys_that_others_can_read(run: Run, folder: Path) -> None:
    """A warning, with the command that helps."""
    (folder / "keys").chmod(0o644)
    code, found = diagnose(run, "--data-dir", folder)
    assert code == 0
    assert found["keys"][0]["hint"] == f"chmod 600 {folder}/keys"


@pytest.mark.parametrize(("revision", "said"), [("0001", "callback-sdk db upgrade"), ("9999", "or a newer one")])
def test_a_database_of_another_version(run: Run, folder: Path, revision: str, said: str) -> None:
    """It is neither upgraded nor changed."""
    database = open_database(Secret(f"sqlite:///{folder / 'store.sqlite3'}"))
    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
    database.close()
    code, found = diagnose(run, "--data-dir", folder)
    assert code == 1
    assert said in found["database"][0]["hint"]


def test_a_service_that_is_not_ready(run: Run, service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own reason; so is a token that it rejects."""
    monkeypatch.setenv("CALLBACK_SDK_URL", service.url)
    monkeypatch.setenv("CALLBACK_SDK_TOKEN", TOKEN)
    service.on("GET", "/algorithms/tasks?limit=1", service.Say(401, {"error": "Unknown token."}))
    assert "Unknown token" in diagnose(run)[1]["service"][0]["message"]
    service.script["GET", "/readyz"] = [service.Say(503, {"error": "No database."})]
    code, found = diagnose(run)
    assert (code, found["service"][0]["message"]) == (1, "The service is not ready: No database.")


@pytest.mark.parametrize(("seconds", "status"), [(2, "ok"), (-60, "warning"), (400, "failure"), (-4000, "failure")])
def test_clocks_are_compared(seconds: float, status: str) -> None:
    """A few seconds are usual; receivers of webhooks reject five minutes."""
    (finding,) = service_checks.compare_clocks("the service", seconds)
    assert finding.status == status
    assert (f"{abs(seconds):.0f} s" in finding.message) == (status != "ok")


def test_the_clock_of_the_service_is_read(service: FakeService) -> None:
    """From the header of its response."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service_checks, "time", Clock(600.0))
        (finding,) = service_checks.check_clock(service.url, None)
    assert finding.status == "failure"
    assert re.search("differs by (600|601|602) s", finding.message)


@pytest.mark.parametrize(
    ("free", "status"), [(10**12, "ok"), (machine_checks.LITTLE_SPACE - 1, "warning"), (10**6, "failure")]
)
def test_a_disk_without_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, status: str) -> None:
    """Before it is full."""
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(machine_checks.shutil, "disk_usage", lambda _: usage)
    assert machine_checks.check_disk(tmp_path, has_sqlite=False)[0].status == status


@pytest.mark.parametrize(("kind", "said"), [("nfs4", "network file system"), ("tmpfs", "in memory")])
def test_a_file_system_that_is_not_for_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, said: str
) -> None:
    """A warning, but not with PostgreSQL."""
    monkeypatch.setattr(machine_checks, "file_system", lambda _: kind)
    assert said in machine_checks.check_disk(tmp_path, has_sqlite=True)[0].message
    assert machine_checks.check_disk(tmp_path, has_sqlite=False)[0].status == "ok"


def test_locks_that_do_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network file systems."""
    from callback_sdk.filesystem import locks

    monkeypatch.setattr(locks, "try_lock", lambda _: True)
    (finding,) = machine_checks.check_disk(tmp_path, has_sqlite=True)
    assert finding.status == "failure"
    assert "File locks don't work" in finding.message


def test_checks_have_bounded_time() -> None:
    """One that doesn't return is a failure, and doesn't hold up the others."""
    never = threading.Event()

    def hang() -> list[Finding]:
        never.wait()
        return []

    found = run_all({"hangs": hang, "works": lambda: findings.ok("Yes.")}, timeout=0.2)
    never.set()
    assert [(name, one.status) for name, one in found] == [("hangs", "failure"), ("works", "ok")]


def test_a_check_that_fails_is_a_line() -> None:
    """Its text is that of a typed error; any other may have a credential."""

    def typed() -> list[Finding]:
        raise ConfigurationError("A setting is wrong.", hint="Correct it.")

    def untyped() -> list[Finding]:
        raise RuntimeError("password MARKER")

    (_, first), (_, second) = run_all({"typed": typed, "untyped": untyped})
    assert (first.message, first.hint) == ("A setting is wrong.", "Correct it.")
    assert "RuntimeError" in second.message
    assert "MARKER" not in second.message


def test_a_webhook_receiver_is_not_a_service(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong URL is found before the first task."""
    monkeypatch.setenv("CALLBACK_SDK_TOKEN", "t")
    with WebhookReceiver() as receiver:
        code, found = diagnose(run, "--url", receiver.url)
    assert code == 1
    assert found["service"][0]["status"] == "failure"
