"""Sources of tokens as settings name them: a token, a file with one, or a log-in at AuthN."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from callback_sdk.errors import AIStoreLoginError, ConfigurationError
from callback_sdk.redaction import Secret, clearing_locals
from callback_sdk.types import TokenSource

if TYPE_CHECKING:
    from callback_sdk.aistore.tokens import Token

_MAX_FILE = 64 * 1024


class TokenFile:
    """A file with a token, which is read at each use, as another program may replace it.

    Args:
        path: The file. It has the token alone, or `{"token": "..."}`, as AIStore's command line writes it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __repr__(self) -> str:
        return f"TokenFile({str(self._path)!r})"

    @clearing_locals
    def __call__(self) -> str:
        """Return the token, in plain text.

        Raises:
            AIStoreLoginError: The file can't be read, or has no token.
        """
        try:
            with self._path.open("rb") as file:
                text = Secret(file.read(_MAX_FILE).decode().strip())
            token = Secret(json.loads(text.reveal())["token"] if text.reveal().startswith("{") else text.reveal())
            if isinstance(token.reveal(), str) and token.reveal():
                return token.reveal()
            problem = "has no token"
        except OSError as error:
            problem = f"can't be read: {error.strerror}"
        except (ValueError, KeyError, TypeError):
            problem = "has no token"
        raise AIStoreLoginError(
            f"The token file {self._path} {problem}.", hint='It has the token alone, or {"token": "..."}.'
        )


@clearing_locals
def token_sources(clusters: Iterable[tuple[str, Secret[str]]]) -> dict[str, TokenSource | None]:
    """Return the sources of the tokens of clusters, as `ResultsWriter` takes them.

    Args:
        clusters: URLs of proxies, each with a token, the absolute path of a file with one, the URL of AuthN with user
            name and password, or an empty text without authentication.

    Raises:
        ConfigurationError: The URL of AuthN has no user name or no password.
    """
    return {url: _source(Secret(source.reveal())) for url, source in clusters}


def _source(text: Secret[str]) -> TokenSource | None:
    if text.reveal().startswith(("http://", "https://")):
        return _login(text)
    if text.reveal().startswith("/"):
        return TokenFile(Path(text.reveal()))
    return text.reveal() or None


def _login(url: Secret[str]) -> Token:
    # Imported here, because it imports requests.
    from callback_sdk.aistore.tokens import Token

    parts = Secret(urlsplit(url.reveal()))
    user, password = parts.reveal().username, Secret(parts.reveal().password or "")
    if not user or not password.reveal():
        raise ConfigurationError(
            "The URL of AuthN has no user name or no password.",
            hint="Give http://USER:PASSWORD@HOST:52001; escape special characters in them as %XX.",
        )
    endpoint = f"{parts.reveal().scheme}://{parts.reveal().netloc.rpartition('@')[2]}{parts.reveal().path}"
    return Token(unquote(user), unquote(password.reveal()), endpoint)
