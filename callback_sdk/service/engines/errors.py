"""Errors of engines."""

from __future__ import annotations

from callback_sdk.errors import CallbackSDKError


class EngineError(CallbackSDKError):
    """The engine is unavailable; accepted tasks stay queued in the store."""


class BrokerRefusedError(EngineError):
    """The broker refuses the connection: the user, password or virtual host is wrong. A retry doesn't help."""
