"""callback_sdk.commands.users"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from typer.testing import CliRunner

from callback_sdk.commands.app import app
from callback_sdk.redaction import Secret
from callback_sdk.service.store import Store, open_database
from callback_sdk.service.store.cipher import CredentialCipher, ensure_keys

PASSWORD = "a password of somebody"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the data directory of a service that isn't running."""
    Store(
        open_database(Secret(f"sqlite:///{tmp_path / 'store.sqlite3'}")),
        CredentialCipher(ensure_keys(tmp_path / "keys")),
    ).close()
    return tmp_path


def test_changes_to_accounts_are_in_the_audit_log(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With user and action, and without tokens or passwords."""
    caplog.set_level(logging.INFO)
    commands = [
        ("add", "anna", "--password"),
        ("create-token", "anna", "--revoke"),
        ("set-password", "anna"),
        ("disable", "anna"),
        ("enable", "anna"),
    ]
    printed = []
    for command in commands:
        done = CliRunner().invoke(app, ["users", *command, "--data-dir", str(folder)], input=f"{PASSWORD}\n")
        assert done.exit_code == 0, done.output
        printed += done.stdout.split()
    records = [record for record in caplog.records if record.name == "callback_sdk.service.access.audit"]
    assert [record.action for record in records] == [  # type: ignore[attr-defined]
        "user-added",
        "token-created",
        "tokens-revoked",
        "token-created",
        "password-changed",
        "user-disabled",
        "user-enabled",
    ]
    assert {record.user for record in records} == {"anna"}  # type: ignore[attr-defined]
    secrets = [PASSWORD, *(word for word in printed if word.startswith("cbk_"))]
    assert len(secrets) == 3
    assert not [secret for secret in secrets if secret in caplog.text]
