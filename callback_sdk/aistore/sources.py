"""Sources of tokens as settings name them: a token, a file with one, or a login at AuthN."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from callback_sdk.aistore.token_files import TokenFile
from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret, clearing_locals
from callback_sdk.types import TokenSource

if TYPE_CHECKING:
    from callback_sdk.aistore.tokens import Token


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
