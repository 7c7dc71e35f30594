"""Connections of botocore's clients: those of each process after a fork, and their settings of TLS."""

from __future__ import annotations

import os
from typing import Any

from urllib3 import PoolManager

from callback_sdk.aistore.certificates import Certificates
from callback_sdk.concurrency.forking import after_fork, keep_inherited


def own_connections(session: Any) -> None:
    """Give each child process its own connections: two processes on one socket read each other's responses.

    Args:
        session: The HTTP session of a botocore client. Other implementations are not modified.
    """
    if _is_botocores(session):
        after_fork(session, _renew)


def use_certificates(session: Any, certificates: Certificates) -> None:
    """Give the client of a session settings of TLS, unless it has its own.

    Args:
        session: See `own_connections`.
        certificates: The settings.
    """
    if not _is_botocores(session):
        return
    if certificates.verify is not None and session._verify in _usual_verify():
        session._verify = certificates.verify
    if session._cert_file is None and certificates.client_cert is not None:
        session._cert_file, session._key_file = certificates.client_cert
        settings = {"cert_file": session._cert_file, "key_file": session._key_file}
        _replace(session, session._manager.connection_pool_kw | settings)


def _usual_verify() -> tuple[bool | str | None, ...]:
    """Return the values of `verify` that a client has from the environment, which are for servers in general."""
    return True, os.environ.get("AWS_CA_BUNDLE"), os.environ.get("REQUESTS_CA_BUNDLE")


def _is_botocores(session: Any) -> bool:
    return isinstance(getattr(session, "_manager", None), PoolManager) and hasattr(session, "_proxy_managers")


def _renew(session: Any) -> None:
    keep_inherited((session._manager, session._proxy_managers))
    # The pool's settings, including the SSL context, have no connections.
    _replace(session, session._manager.connection_pool_kw)


def _replace(session: Any, settings: dict[str, Any]) -> None:
    former = session._manager
    session._manager = PoolManager(**settings)
    session._manager.pool_classes_by_scheme = former.pool_classes_by_scheme
    session._proxy_managers = {}
