"""Fake DNS names for the tests of the address guard, in each process that imports this module."""

from __future__ import annotations

import socket
from typing import Any

ADDRESSES = {
    b"inside.example.org": ["127.0.0.1"],
    b"mixed.example.org": ["192.0.2.1", "127.0.0.1"],
    b"hook.allowed.example.org": ["127.0.0.1"],
}

_real = socket.getaddrinfo


def _getaddrinfo(host: Any, *place: Any, **options: Any) -> list[Any]:
    return [found for address in ADDRESSES.get(host, [host]) for found in _real(address, *place, **options)]


socket.getaddrinfo = _getaddrinfo
