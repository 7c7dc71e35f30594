"""Sources of tokens in settings."""

from __future__ import annotations

import pytest

from callback_sdk.aistore import Token
from callback_sdk.aistore.sources import token_sources
from callback_sdk.errors import ConfigurationError
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
