"""What goes wrong with an engine."""

from __future__ import annotations

from callback_sdk.errors import CallbackSDKError


class EngineError(CallbackSDKError):
    """Nothing can be brought to workers at the moment; what was accepted waits in the store."""


class BrokerRefusedError(EngineError):
    """The broker refuses the connection: user, password or virtual host is wrong. Only another setting helps."""
