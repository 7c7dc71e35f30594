"""An algorithm, and fake DNS names, for the tests of the address guard. The service imports it to resolve the names.

The service imports it, so that its own process resolves these names.
"""

from __future__ import annotations

import socket
from typing import Any

from callback_sdk.service import Registry

ADDRESSES = {
    b"inside.example.org": ["127.0.0.1"],
    b"mixed.example.org": ["192.0.2.1", "127.0.0.1"],
    b"hook.allowed.example.org": ["127.0.0.1"],
}

registry = Registry()

_real = socket.getaddrinfo


@registry.algorithm("one")
def one(features: Any, parameters: Any, context: Any) -> dict[str, Any]:
    return {"predictions": 1}


def _getaddrinfo(host: Any, *place: Any, **options: Any) -> list[Any]:
    return [found for address in ADDRESSES.get(host, [host]) for found in _real(address, *place, **options)]


socket.getaddrinfo = _getaddrinfo
