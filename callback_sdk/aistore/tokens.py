"""Bearer tokens of AIStore: from a login, from a file, or from the environment."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from callback_sdk.aistore.bearer import RenewableToken
from callback_sdk.aistore.certificates import ClientCertFiles, Verify, certificates
from callback_sdk.aistore.environment import TOKEN_FILE, Environment
from callback_sdk.aistore.logins import LogIn, RenewedLogIn
from callback_sdk.aistore.token_files import TokenFile
from callback_sdk.aistore.urls import server_url
from callback_sdk.documents.decoding import has_lone_surrogate
from callback_sdk.errors import ConfigurationError
from callback_sdk.parsing import Duration, path_of, to_timedelta, total_seconds
from callback_sdk.redaction import Secret, clearing_locals

_NANOSECONDS = 1_000_000_000


class Token:
    """A token that is renewed: shortly before it expires, and when the cluster rejects it.

    With a user name it logs in at AuthN, on first use. With `file` it is read from a file, again whenever the file was
    replaced. Without both it is that of AIStore's environment: `AIS_AUTHN_TOKEN`, or else the file that
    `AIS_AUTHN_TOKEN_FILE` names, or else `~/.config/ais/cli/auth.token`, where `ais auth login` writes it.

    Args:
        username: The user's name.
        password: The user's password.
        authn_endpoint: URL of AuthN, such as `http://authn:52001`; `AIS_AUTHN_URL` when None.
        file: A file with a token, as `ais auth login` writes it, or with the token alone.
        expires_in: Lifetime of a token, a `timedelta` or seconds; AuthN's own default when None. AuthN rejects less
            than a minute.
        margin: Time before its expiry at which a token is renewed, a `timedelta` or seconds; at most a quarter of its
            lifetime.
        verify: Whether to verify AuthN's certificate, or the path of a PEM file with the authorities. When None, those
            of `AIS_CLIENT_CA`, unless `AIS_SKIP_VERIFY_CRT` is set.
        client_cert: A PEM file with client certificate and key, or `(certificate, key)`; `AIS_CRT` and `AIS_CRT_KEY`
            when None.

    Raises:
        ConfigurationError: An argument is missing or invalid, or there is no token in the environment.

    Example:
        >>> s3 = aistore.client("http://aistore:8080", token=aistore.Token("anna", password, "http://authn:52001"))
    """

    @clearing_locals
    def __init__(
        self,
        username: str | None = None,
        password: str | None = None,
        authn_endpoint: str | None = None,
        *,
        file: str | os.PathLike[str] | None = None,
        expires_in: Duration | None = None,
        margin: Duration = timedelta(minutes=1),
        verify: Verify = None,
        client_cert: ClientCertFiles = None,
    ) -> None:
        self._source: RenewableToken
        if username is None and (password is not None or authn_endpoint is not None):
            raise ConfigurationError("The user name is missing.", hint="Give user name and password, or a file.")
        if username is not None and file is not None:
            raise ConfigurationError("There are both a user name and a file.", hint="Give one of them.")
        if username is None:
            self._source = _existing_token(file, Environment.read())
            return
        if password is None:
            raise ConfigurationError("The password is missing.", hint="Give the user's password.")
        environment = Environment.read()
        url = environment.authn_endpoint if authn_endpoint is None else authn_endpoint
        if url is None:
            raise ConfigurationError(
                "The URL of AuthN is missing.", hint="Give authn_endpoint, or set AIS_AUTHN_URL: http://authn:52001."
            )
        for name, given in (("username", Secret(username)), ("password", Secret(password))):
            _check_text(name, given)
        endpoint = server_url(url, "AuthN", "http://authn:52001", "AIS_AUTHN_URL")
        lifetime = None if expires_in is None else to_timedelta("expires_in", expires_in)
        log_in = LogIn(
            username,
            Secret(password),
            endpoint,
            None if lifetime is None else int(lifetime.total_seconds() * _NANOSECONDS),
            certificates(endpoint, verify, client_cert, environment),
        )
        self._source = RenewedLogIn(log_in, total_seconds("margin", margin, zero=True))

    def __repr__(self) -> str:
        return f"Token({self._source!r})"

    def __call__(self) -> str:
        """Return the current token, in plain text.

        Raises:
            AIStoreLoginError: The login failed, or there is no token in the file.
        """
        return self._source()

    def discard(self, refused: Secret[str]) -> None:
        """Get another token at the next use, unless the rejected one was already replaced."""
        self._source.discard(refused)


class _GivenToken:
    """A token that can't be renewed."""

    def __init__(self, token: Secret[str]) -> None:
        self._token = token

    def __repr__(self) -> str:
        return "AIS_AUTHN_TOKEN"

    def __call__(self) -> str:
        return self._token.reveal()

    def discard(self, refused: Secret[str]) -> None:
        """Do nothing."""


def _check_text(name: str, value: Secret[Any]) -> None:
    if not isinstance(value.reveal(), str):
        raise ConfigurationError(f"{name} is of type {type(value.reveal()).__name__}.", hint="Give a string.")
    if has_lone_surrogate(value.reveal()):
        raise ConfigurationError(f"{name} has a lone surrogate.", hint="Check how the string is made.")


def _existing_token(file: str | os.PathLike[str] | None, environment: Environment) -> RenewableToken:
    """Return a token that exists already."""
    if file is not None:
        return TokenFile(path_of("file", file))
    if environment.token is not None:
        return _GivenToken(environment.token)
    if environment.token_file is not None:
        return TokenFile(Path(environment.token_file))
    usual = Path.home() / TOKEN_FILE
    if usual.exists():
        return TokenFile(usual)
    raise ConfigurationError(
        f"There is no token: neither AIS_AUTHN_TOKEN nor AIS_AUTHN_TOKEN_FILE is set, and {usual} doesn't exist.",
        hint="Log in with ais auth login, or give user name and password.",
    )
