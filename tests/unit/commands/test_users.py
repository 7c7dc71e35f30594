"""callback_sdk.commands.users"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from callback_sdk.commands.app import app
from callback_sdk.redaction import Secret
from callback_sdk.service.store import Store, open_database
from callback_sdk.service.store.audit import AuditFilter
from callback_sdk.service.store.cipher import CredentialCipher, ensure_keys
from callback_sdk.service.store.models import USER

PASSWORD = "a password of somebody"


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    url = Secret(f"sqlite:///{folder / 'store.sqlite3'}")
    with closing(Store(open_database(url), CredentialCipher(ensure_keys(folder / "keys")))) as store:
        yield store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the data directory of a service that isn't running."""
    with opened(tmp_path):
        return tmp_path


def test_changes_to_accounts_are_in_the_audit_log(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With account and action, and without tokens or passwords; both in the log and in the database."""
    caplog.set_level(logging.INFO)
    commands = [
        ("add", "anna", "--password"),
        ("create-token", "anna", "--revoke"),
        ("set-password", "anna"),
        ("disable", "anna"),
        ("enable", "anna"),
        ("set-role", "anna", "operator", "--may-read"),
        ("set-role", "anna", "user"),
    ]
    printed = []
    for command in commands:
        done = CliRunner().invoke(app, ["users", *command, "--data-dir", str(folder)], input=f"{PASSWORD}\n")
        assert done.exit_code == 0, done.output
        printed += done.stdout.split()
    records = [record for record in caplog.records if record.name == "callback_sdk.service.access.audit"]
    actions = [
        "user-added",
        "token-created",
        "tokens-revoked",
        "token-created",
        "password-changed",
        "user-disabled",
        "user-enabled",
        "role-changed",
        "role-changed",
    ]
    assert [record.action for record in records] == actions  # type: ignore[attr-defined]
    assert {record.owner for record in records} == {"anna"}  # type: ignore[attr-defined]
    with opened(folder) as store:
        entries = store.audit.page(AuditFilter(), limit=20)
        assert store.users.by_name("anna").role == USER
    assert [entry.action for entry in reversed(entries)] == actions
    assert {(entry.actor, entry.owner, entry.via) for entry in entries} == {(None, "anna", "command")}
    assert [entry.facts.get("may_read") for entry in entries[:2]] == [None, True]
    secrets = [PASSWORD, *(word for word in printed if word.startswith("cbk_"))]
    assert len(secrets) == 3
    assert not [secret for secret in secrets if secret in caplog.text]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("add", "bert", "--may-read"), "Only operators"),
        (("set-role", "bert", "user", "--may-read"), "Only operators"),
        (("set-role", "bert", "root"), "user or operator"),
    ],
)
def test_only_operators_may_read(folder: Path, command: tuple[str, ...], said: str) -> None:
    """Any other combination is an error, and changes nothing."""
    done = CliRunner().invoke(app, ["users", *command, "--data-dir", str(folder)])
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())


def test_the_list_shows_operators(folder: Path) -> None:
    """With their rights, for people and for programs."""
    for command in (("add", "anna", "--operator"), ("add", "bert", "--operator", "--may-read"), ("add", "carl")):
        assert CliRunner().invoke(app, ["users", *command, "--data-dir", str(folder)]).exit_code == 0
    done = CliRunner().invoke(app, ["users", "list", "--data-dir", str(folder)])
    assert [line.split("\t") for line in done.stdout.splitlines()] == [
        ["anna", "enabled", "", "operator"],
        ["bert", "enabled", "", "operator, may read"],
        ["carl", "enabled", "", "user"],
    ]
    done = CliRunner().invoke(app, ["users", "list", "--json", "--data-dir", str(folder)])
    assert [(one["role"], one["may_read"]) for one in json.loads(done.stdout)] == [
        ("operator", False),
        ("operator", True),
        ("user", False),
    ]
