"""Settings of TLS for requests to a cluster and to AuthN."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path

from attrs import define

from callback_sdk.aistore.environment import Environment
from callback_sdk.concurrency.forking import no_fork
from callback_sdk.errors import ConfigurationError
from callback_sdk.parsing import path_of
from callback_sdk.redaction import SecretURL
from callback_sdk.transport.tls import TLS

_log = logging.getLogger(__name__)

Verify = bool | str | os.PathLike[str] | None
"""Whether to verify certificates, or the path of a PEM file with the trusted authorities; None for the environment."""

ClientCertFiles = str | os.PathLike[str] | tuple[str | os.PathLike[str], str | os.PathLike[str]] | None
"""A PEM file with certificate and private key, or `(certificate, key)`; None for the environment."""


@define(frozen=True)
class Certificates:
    """Settings of TLS, as botocore and requests take them.

    Attributes:
        verify: Whether to verify certificates, or the path of the trusted authorities; None for the library's default.
        client_cert: The client certificate, `(certificate, key)`; None for none.
    """

    verify: bool | str | None
    client_cert: tuple[str, str] | None


def certificates(
    url: SecretURL, verify: Verify, client_cert: ClientCertFiles, environment: Environment
) -> Certificates:
    """Check settings of TLS, and complete them with AIStore's environment variables.

    An argument has precedence over a variable. AIStore's own SDK differs in one case: there `AIS_SKIP_VERIFY_CRT` also
    has precedence over the authorities that an argument names.

    Args:
        url: URL of the server. Without TLS the environment is not read.
        verify: See `Verify`. True means that certificates are verified, with the authorities of `AIS_CLIENT_CA`.
        client_cert: See `ClientCertFiles`.
        environment: AIStore's variables.

    Raises:
        ConfigurationError: A file can't be read, or isn't what it should be.
    """
    if url.scheme == "https":
        if verify is None and environment.skip_verify:
            verify = False
        if verify is None or verify is True:
            verify = environment.authorities or verify
        if client_cert is None:
            client_cert = environment.client_cert
    if verify is False and url.scheme == "https":
        # Not a warning of the module warnings, which are shown once.
        _log.warning("Certificates of %s are not verified: anybody on the way can read and change everything.", url)
    return Certificates(_authorities(verify), _client_cert(client_cert))


def _authorities(verify: Verify) -> bool | str | None:
    if verify is None or isinstance(verify, bool):
        return verify
    path = path_of("verify", verify)
    with no_fork:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
    except OSError as error:
        reason = "has no certificates in it" if isinstance(error, ssl.SSLError) else f"can't be read ({error.strerror})"
    else:
        return str(path)
    raise ConfigurationError(
        f"The file of certificate authorities {path} {reason}.", hint="Give a PEM file: verify= or AIS_CLIENT_CA."
    )


def _client_cert(given: ClientCertFiles) -> tuple[str, str] | None:
    if given is None:
        return None
    files = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    if len(files) > 2:
        raise ConfigurationError(
            "client_cert has more than two values.", hint="boto3 takes no password: give a key that isn't encrypted."
        )
    # Checks the files.
    TLS(files)
    return str(Path(files[0])), str(Path(files[-1]))
