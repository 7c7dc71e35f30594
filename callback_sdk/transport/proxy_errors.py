"""Failures of a proxy between this process and a target."""

from __future__ import annotations

_LOGIN_REQUIRED = 407

_TARGET_FAILED = frozenset({502, 503, 504})
"""Statuses of a proxy that couldn't reach the target (RFC 9110, sections 15.6.3 to 15.6.5); Squid sends 503."""


class TunnelError(OSError):
    """A proxy rejected a CONNECT.

    Attributes:
        status: HTTP status of its response.
        to_address: Whether it was to connect to an address, and not to a name.
    """

    def __init__(self, status: int, *, to_address: bool = False) -> None:
        super().__init__(f"the proxy answered {status}")
        self.status = status
        self.to_address = to_address

    @property
    def needs_login(self) -> bool:
        """Whether the proxy wants a user and a password."""
        return self.status == _LOGIN_REQUIRED

    @property
    def is_of_target(self) -> bool:
        """Whether the proxy failed because the target did."""
        return self.status in _TARGET_FAILED


class ProxyUnreachableError(OSError):
    """A proxy can't be reached itself; the cause tells why."""
