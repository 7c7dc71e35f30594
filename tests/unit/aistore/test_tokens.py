"""callback_sdk.aistore.tokens"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from callback_sdk.aistore.tokens import Token
from callback_sdk.errors import ConfigurationError

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm5hIn0.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty home directory, and an environment without AIStore's variables."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AIS_AUTHN_TOKEN", "AIS_AUTHN_TOKEN_FILE", "AIS_AUTHN_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_environment_is_read_in_the_order_of_aistores_own_tools(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token, the file that a variable names, and the file that `ais auth login` writes."""
    with pytest.raises(ConfigurationError, match="AIS_AUTHN_TOKEN_FILE"):
        Token()
    usual = home / ".config" / "ais" / "cli" / "auth.token"
    usual.parent.mkdir(parents=True)
    usual.write_text('{"token": "usual"}')
    assert Token()() == "usual"
    (home / "named").write_text('{"token": "named"}')
    monkeypatch.setenv("AIS_AUTHN_TOKEN_FILE", str(home / "named"))
    assert Token()() == "named"
    monkeypatch.setenv("AIS_AUTHN_TOKEN", "given")
    assert Token()() == "given"
    assert Token(file=usual)() == "usual"


def test_authn_may_be_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument has precedence."""
    with pytest.raises(ConfigurationError, match="AIS_AUTHN_URL"):
        Token("anna", "password")
    monkeypatch.setenv("AIS_AUTHN_URL", "http://authn:52001")
    assert "http://authn:52001" in repr(Token("anna", "password"))
    assert "http://other:1" in repr(Token("anna", "password", "http://other:1"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"password": "MARKER"}, "user name is missing"),
        ({"authn_endpoint": "http://authn:52001"}, "user name is missing"),
        ({"username": "anna"}, "password is missing"),
        ({"username": "anna", "password": "MARKER", "file": "x"}, "both a user name and a file"),
        ({"username": "anna", "password": "MARKER", "authn_endpoint": "authn:52001"}, "not a URL"),
        ({"username": "anna", "password": "MARKER", "authn_endpoint": "http://a", "margin": -1}, "margin"),
        ({"username": "anna", "password": "MARKER", "authn_endpoint": "http://a", "expires_in": 0}, "expires_in"),
        ({"file": 7}, "file is of type int"),
    ],
)
def test_wrong_arguments_are_rejected_early(arguments: dict[str, Any], words: str) -> None:
    """Before any request, without the password."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        Token(**arguments)
    assert "MARKER" not in str(caught.value)


def test_repr_has_no_credential(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """It says where the token comes from."""
    monkeypatch.setenv("AIS_AUTHN_TOKEN", "MARKER41aa")
    shown = [repr(Token()), repr(Token("anna", "MARKER41aa", "http://a")), repr(Token(file=home / "t"))]
    assert shown[0] == "Token(AIS_AUTHN_TOKEN)"
    assert shown[1] == "Token('anna' at http://a/v1/users/anna)"
    assert str(home / "t") in shown[2]
