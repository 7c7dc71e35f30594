"""Which certificate authorities the client trusts: those that the environment names, as requests, curl and OpenSSL do.

These variables belong to every program, as those of proxies do, and not to this package: so they are read here.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from callback_sdk.errors import ConfigurationError

VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""The first one that is set counts. requests reads the first two only, OpenSSL the last two."""


def authorities() -> str | bool:
    """Return the file or folder of certificates that the environment names; True for the usual ones.

    Raises:
        ConfigurationError: The file or folder doesn't exist.
    """
    for name in VARIABLES:
        if path := os.environ.get(name):
            if not Path(path).exists():
                raise _unusable(name, path, "which doesn't exist")
            return path
    return True


def check_authorities() -> None:
    """Tell a file that holds no certificates from a service whose certificate isn't trusted.

    Raises:
        ConfigurationError: The file that the environment names holds none.
    """
    path = authorities()
    if not isinstance(path, str) or Path(path).is_dir():
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError:
        name = next(name for name in VARIABLES if os.environ.get(name) == path)
        raise _unusable(name, path, "which holds no certificates that can be read") from None


def _unusable(name: str, path: str, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"The environment variable {name} names {path!r}, {problem}.",
        hint="Name a file of PEM certificates, or unset the variable to trust the usual authorities.",
    )
