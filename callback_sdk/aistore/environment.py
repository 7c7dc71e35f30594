"""Environment variables of AIStore's own SDK and CLI.

Source: `docs/environment-vars.md` and `api/env` in AIStore's repository, and `aistore.sdk` 2.0. Of a token and a token
file in the environment, the token counts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from attrs import define, field

from callback_sdk.errors import ConfigurationError
from callback_sdk.parsing import parse_bool
from callback_sdk.redaction import Secret

TOKEN_FILE = Path(".config", "ais", "cli", "auth.token")
"""Where `ais auth login` writes a token, below the home directory."""


@define(frozen=True)
class Environment:
    """AIStore's variables.

    Attributes:
        endpoint: `AIS_ENDPOINT`, the proxy's URL; None if it isn't set, as for the others.
        token: `AIS_AUTHN_TOKEN`.
        token_file: `AIS_AUTHN_TOKEN_FILE`.
        authn_endpoint: `AIS_AUTHN_URL`.
        authorities: `AIS_CLIENT_CA`, a PEM file.
        client_cert: `AIS_CRT` and `AIS_CRT_KEY`, PEM files.
        skip_verify: `AIS_SKIP_VERIFY_CRT`, or `AIS_SKIP_VERIFY`, its former name.
    """

    endpoint: str | None
    token: Secret[str] | None = field(repr=False)
    token_file: str | None
    authn_endpoint: str | None
    authorities: str | None
    client_cert: tuple[str, str] | None
    skip_verify: bool

    @property
    def has_token(self) -> bool:
        """Whether the variables name a token."""
        return self.token is not None or self.token_file is not None

    @classmethod
    def read(cls, variables: Mapping[str, str] | None = None) -> Environment:
        """Read the environment, or the mapping `variables` instead.

        Raises:
            ConfigurationError: A variable has an invalid value; the text names the variable.
        """
        found = {name: value.strip() for name, value in (os.environ if variables is None else variables).items()}
        certificate, key = found.get("AIS_CRT"), found.get("AIS_CRT_KEY")
        return cls(
            endpoint=found.get("AIS_ENDPOINT") or None,
            token=Secret(found["AIS_AUTHN_TOKEN"]) if found.get("AIS_AUTHN_TOKEN") else None,
            token_file=found.get("AIS_AUTHN_TOKEN_FILE") or None,
            authn_endpoint=found.get("AIS_AUTHN_URL") or None,
            authorities=found.get("AIS_CLIENT_CA") or None,
            client_cert=(certificate, key) if certificate and key else None,
            skip_verify=_flag(found, "AIS_SKIP_VERIFY_CRT", "AIS_SKIP_VERIFY"),
        )


def _flag(found: Mapping[str, str], *names: str) -> bool:
    name = next((name for name in names if name in found), "")
    try:
        return bool(found.get(name)) and parse_bool(found[name])
    except ValueError:
        raise ConfigurationError(
            f"The environment variable {name} is {found[name]!r}.", hint="It takes true or false."
        ) from None
