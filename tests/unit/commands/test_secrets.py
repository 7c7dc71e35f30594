"""callback_sdk.commands.secrets"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from callback_sdk import webhooks
from callback_sdk.redaction import Secret
from callback_sdk.service.store import Store, open_database
from callback_sdk.service.store.audit import AuditFilter
from callback_sdk.service.store.cipher import CredentialCipher, ensure_keys
from tests.unit.commands.conftest import Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the data directory of a service that isn't running, with a user."""
    store = opened(tmp_path)
    store.users.add("anna")
    store.close()
    return tmp_path


def opened(folder: Path) -> Store:
    cipher = CredentialCipher(ensure_keys(folder / "keys"))
    return Store(open_database(Secret(f"sqlite:///{folder / 'store.sqlite3'}")), cipher)


def keys(folder: Path) -> tuple[webhooks.SigningKey, ...]:
    store = opened(folder)
    found = store.signing_secrets.keys(store.users.by_name("anna").user_id)
    store.close()
    return found


def test_secret_is_created_rotated_and_revoked(run: Run, folder: Path) -> None:
    """It is printed once; the list has everything else."""
    place = ("--data-dir", str(folder))
    code, first, err = run("secrets", "create", "anna", *place)
    assert (code, len(first.split())) == (0, 1)
    assert first.strip() not in err
    assert keys(folder) == (webhooks.decode_secret(first),)
    _, second, _ = run("secrets", "create", "anna", "--overlap", "1h", *place)
    assert keys(folder) == tuple(map(webhooks.decode_secret, (second, first)))
    _, listed, _ = run("secrets", "list", "anna", "--json", *place)
    newer, older = json.loads(listed)
    assert newer["expires_at"] is None
    assert older["expires_at"] > older["created_at"]
    _, shown, _ = run("secrets", "list", "anna", *place)
    assert newer["id"] in shown
    for secret in (first, second):
        assert secret.strip() not in listed + shown
    code, said, _ = run("secrets", "revoke", "anna", older["id"], *place)
    assert (code, said) == (0, f"{older['id']} is revoked.\n")
    assert keys(folder) == (webhooks.decode_secret(second),)
    store = opened(folder)
    actions = [entry.action for entry in store.audit.page(AuditFilter(owner="anna"), limit=9)]
    store.close()
    assert actions == ["signing-secret-revoked", "signing-secret-created", "signing-secret-created"]


def test_public_key_of_a_key_pair_is_printed(run: Run, folder: Path) -> None:
    """Nothing else leaves the service."""
    _, said, _ = run("secrets", "create", "anna", "--scheme", "v1a", "--data-dir", str(folder))
    assert said.startswith("whpk_")
    (key,) = keys(folder)
    assert key.scheme == "v1a"


def test_secret_that_receivers_have_is_imported(run: Run, folder: Path) -> None:
    """From a pipe, and it isn't printed again."""
    secret = webhooks.generate_secret()
    code, said, err = run("secrets", "create", "anna", "--import", "--data-dir", str(folder), stdin=f"{secret}\n")
    assert (code, said) == (0, "")
    assert secret not in err
    assert keys(folder) == (webhooks.decode_secret(secret),)


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (("create", "bert"), "", "'bert' doesn't exist"),
        (("create", "anna", "--overlap", "5"), "", "such as 24h"),
        (("create", "anna", "--overlap", "100d"), "", "90 days"),
        (("create", "anna", "--scheme", "v2"), "", "v1a"),
        (("create", "anna", "--import"), "nonsense\n", "24 to 64"),
        (("revoke", "anna", "0123"), "", "has no signing secret '0123'"),
    ],
)
def test_errors_say_what_to_do(run: Run, folder: Path, arguments: tuple[str, ...], stdin: str, words: str) -> None:
    """The exit code is that of an error, and nothing is stored."""
    code, said, err = run("secrets", *arguments, "--data-dir", str(folder), stdin=stdin)
    assert code != 0
    assert words in " ".join(err.split())
    assert said == ""
    assert keys(folder) == ()
