"""Sources of tokens in settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from callback_sdk.aistore import Token
from callback_sdk.aistore.sources import TokenFile, token_sources
from callback_sdk.errors import AIStoreLoginError, ConfigurationError
from callback_sdk.redaction import Secret

MARKER = "MARKER9b3f"


def source(text: str) -> object:
    return token_sources([("http://aistore:8080", Secret(text))])["http://aistore:8080"]


def test_each_form_is_recognized() -> None:
    """A token, a file, a log-in, or none of them; a log-in shows no password."""
    assert source("abc.def.ghi=") == "abc.def.ghi="
    assert source("") is None
    assert repr(source("/run/secrets/token")) == "TokenFile('/run/secrets/token')"
    login = source(f"https://anna%40x:{MARKER}%2F@authn:52001/prefix")
    assert isinstance(login, Token)
    assert repr(login) == "Token('anna@x' at https://authn:52001/prefix/v1/users/anna%40x)"


@pytest.mark.parametrize("url", ["http://authn:52001", "http://anna@authn:52001", f"http://:{MARKER}@authn:52001"])
def test_login_needs_user_and_password(url: str) -> None:
    """The error shows neither."""
    with pytest.raises(ConfigurationError, match="no user name or no password") as caught:
        source(url)
    assert MARKER not in str(caught.value)


def test_file_is_read_at_each_use(tmp_path: Path) -> None:
    """Another program may replace the token; AIStore's command line writes JSON."""
    path = tmp_path / "token"
    read = TokenFile(path)
    path.write_text('{"token": "first"}')
    assert read() == "first"
    path.write_text("second\n")
    assert read() == "second"


@pytest.mark.parametrize("text", [None, "", "\n", "{", "{}", '{"token": 5}', '{"token": ""}', "\udcff"])
def test_file_without_a_token_is_an_error(tmp_path: Path, text: str | None) -> None:
    """It names the file, and what belongs into it."""
    path = tmp_path / "token"
    if text is not None:
        path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(AIStoreLoginError, match=r"The token file .*token") as caught:
        TokenFile(path)()
    assert '{"token": "..."}' in caught.value.hint
