"""Connections of botocore's clients after a fork: each process needs its own."""

from __future__ import annotations

from typing import Any

from urllib3 import PoolManager

from callback_sdk.concurrency.forking import after_fork, keep_inherited


def own_connections(session: Any) -> None:
    """Give each child process its own connections: two processes on one socket read each other's responses.

    Args:
        session: The HTTP session of a botocore client. Other implementations are not modified.
    """
    if isinstance(getattr(session, "_manager", None), PoolManager) and hasattr(session, "_proxy_managers"):
        after_fork(session, _renew)


def _renew(session: Any) -> None:
    inherited = session._manager
    keep_inherited((inherited, session._proxy_managers))
    # The pool's settings, including the SSL context, have no connections.
    session._manager = PoolManager(**inherited.connection_pool_kw)
    session._manager.pool_classes_by_scheme = inherited.pool_classes_by_scheme
    session._proxy_managers = {}
