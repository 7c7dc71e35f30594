"""Trusted certificate authorities of the client, from the environment variables of requests, curl and OpenSSL.

The variables are read here and not in `callback_sdk.config`, because they are not settings of this package.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from callback_sdk.errors import ConfigurationError

VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables in order of precedence. requests reads the first two only, OpenSSL the last two."""


def authorities() -> str | bool:
    """Return the file or directory of certificates that the environment names; True for the default authorities.

    Raises:
        ConfigurationError: The file or directory doesn't exist.
    """
    for name in VARIABLES:
        if path := os.environ.get(name):
            if not Path(path).exists():
                raise _unusable(name, path, "which doesn't exist")
            return path
    return True


def check_authorities() -> None:
    """Check that the file of authorities contains certificates.

    Called after a failed verification, to distinguish an invalid file from an untrusted certificate of the service.

    Raises:
        ConfigurationError: The file contains no valid certificate.
    """
    path = authorities()
    if not isinstance(path, str) or Path(path).is_dir():
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError:
        name = next(name for name in VARIABLES if os.environ.get(name) == path)
        raise _unusable(name, path, "which contains no valid certificates") from None


def _unusable(name: str, path: str, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"The environment variable {name} names {path!r}, {problem}.",
        hint="Name a file of PEM certificates, or unset the variable to trust the usual authorities.",
    )
