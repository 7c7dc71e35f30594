"""From a host to a connection: to the first of its addresses that answers, and all of it in bounded time."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from datetime import timedelta
from itertools import zip_longest
from typing import Any

from callback_sdk.redaction import SecretURL
from callback_sdk.targets.hosts import ascii_host, ip_literal, port_of
from callback_sdk.transport.polling import writable

HEAD_START = timedelta(milliseconds=250)
"""How long an address is tried before the next one is tried beside it; from RFC 8305, section 5."""

SocketAddress = tuple[Any, ...]

Addresses = list[SocketAddress]
"""What `socket.getaddrinfo` returns."""


def time_left(deadline: float) -> float:
    """Return the seconds until a moment of the monotonic clock.

    Raises:
        TimeoutError: It has passed.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def resolve(url: SecretURL, deadline: float) -> Addresses:
    """Ask the system for the addresses of a URL's host.

    Args:
        url: Where to.
        deadline: When to give up, by the monotonic clock.

    Raises:
        OSError: The host has no address, or the system didn't answer in time.
        InvalidTargetError: No host can have such a name.
    """
    host, port = ascii_host(url), port_of(url)
    if ip_literal(host) is not None:
        return _look_up(host, port)
    found: deque[Addresses | OSError] = deque()

    def look_up() -> None:
        try:
            found.append(_look_up(host, port))
        except OSError as error:
            found.append(error)

    # The system's resolver can't be told how long to take, and it takes half a minute when no name server answers.
    thread = threading.Thread(target=look_up, name="callback-sdk-resolve", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        # When the interpreter ends, no thread begins any more; a result can still be written.
        return _look_up(host, port)
    thread.join(time_left(deadline))
    if not found:
        raise socket.gaierror(socket.EAI_AGAIN, "no name server answered in time")
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


def _look_up(host: str, port: int) -> Addresses:
    try:
        # As bytes, because Python would encode a str by the rules of 2003, and refuses some names with a
        # UnicodeError.
        return socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    except ValueError:
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None


def connect_happy_eyeballs(addresses: Addresses, deadline: float) -> socket.socket:
    """Connect to the first address that answers.

    One that neither answers nor refuses gets a head start only, so that it doesn't use up the others' time.

    Args:
        addresses: Where to, the best first.
        deadline: When to give up, by the monotonic clock.

    Raises:
        OSError: None of them can be reached; the error is the last one's.
        TimeoutError: The time is over.
    """
    waiting = deque(_alternating(addresses))
    racing: list[socket.socket] = []
    failure = OSError("the name has no address")
    try:
        while waiting or racing:
            if waiting:
                try:
                    sock = _begin(waiting.popleft())
                except OSError as error:
                    failure = error
                    continue
                racing.append(sock)
            for sock in writable(racing, _max_wait(deadline, more=bool(waiting))):
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not code:
                    sock.settimeout(time_left(deadline))
                    racing.remove(sock)
                    return sock
                racing.remove(sock)
                sock.close()
                failure = OSError(code, os.strerror(code))
    finally:
        for sock in racing:
            sock.close()
    raise failure


def _alternating(addresses: Addresses) -> Addresses:
    """Let the families take turns, so that one that is broken as a whole costs one head start."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for pair in zip_longest(first, others) for address in pair if address is not None]


def _begin(address: SocketAddress) -> socket.socket:
    family, kind, protocol, _, place = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.connect(place)
    except BlockingIOError:
        return sock
    except BaseException:
        sock.close()
        raise
    return sock


def _max_wait(deadline: float, *, more: bool) -> float:
    left = time_left(deadline)
    return min(left, HEAD_START.total_seconds()) if more else left
