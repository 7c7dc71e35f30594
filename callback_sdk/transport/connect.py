"""Resolve a host and connect to the first address that responds, by Happy Eyeballs (RFC 8305), within a deadline."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from datetime import timedelta
from itertools import zip_longest
from typing import Any

from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.redaction import SecretURL
from callback_sdk.targets.hosts import ip_literal, port_of
from callback_sdk.transport.driver import Driver
from callback_sdk.transport.polling import WRITE

HEAD_START = timedelta(milliseconds=250)
"""Delay before the next address is tried in parallel: the "Connection Attempt Delay" of RFC 8305, section 5."""

SocketAddress = tuple[Any, ...]

Addresses = list[SocketAddress]
"""As `socket.getaddrinfo` returns them, sorted by RFC 6724."""


def time_left(deadline: float) -> float:
    """Return the seconds until a deadline of the monotonic clock.

    Raises:
        TimeoutError: The deadline has passed.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def resolve(url: SecretURL, deadline: float) -> Addresses:
    """Resolve a URL's host by the system's resolver.

    Args:
        url: The URL.
        deadline: When to give up, by the monotonic clock.

    Raises:
        OSError: The host has no address, or the resolver didn't respond in time.
    """
    host, port = url.host, port_of(url)
    if ip_literal(host) is not None:
        return _look_up(host, port)
    found: deque[Addresses | OSError] = deque()

    def look_up() -> None:
        try:
            found.append(_look_up(host, port))
        except OSError as error:
            found.append(error)

    # getaddrinfo has no timeout: with the defaults of resolv.conf(5), 5 s and 2 attempts for each of 3 name servers, it
    # takes 30 s when none responds.
    thread = threading.Thread(target=look_up, name="callback-sdk-resolve", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        # "can't start new thread at interpreter shutdown": a result can still be written from an atexit handler.
        return _look_up(host, port)
    thread.join(time_left(deadline))
    if not found:
        raise socket.gaierror(socket.EAI_AGAIN, "no name server responded in time")
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


def _look_up(host: str, port: int) -> Addresses:
    try:
        # As bytes: Python would encode a str by IDNA 2003 (RFC 3490), and raise UnicodeError for some names.
        return socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    except ValueError:
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None


async def connect_happy_eyeballs(addresses: Addresses, deadline: float, driver: Driver) -> socket.socket:
    """Connect to the first address that responds (Happy Eyeballs, RFC 8305); return a socket that doesn't block.

    An address that neither responds nor refuses gets a head start only, so it doesn't use up the others' time.

    Args:
        addresses: The addresses, the preferred first.
        deadline: When to give up, by the monotonic clock.
        driver: Waits for the sockets.

    Raises:
        OSError: None of them can be reached; the error is that of the last one.
        TimeoutError: The deadline has passed.
    """
    waiting = deque(_alternate(addresses))
    racing: list[socket.socket] = []
    failure = OSError("the name has no address")
    try:
        while waiting or racing:
            if waiting:
                try:
                    sock = _begin(waiting.popleft())
                except uninterrupted(OSError) as error:
                    failure = error
                    continue
                racing.append(sock)
            # connect(2): a non-blocking socket becomes writable when its connection is established or has failed, and
            # SO_ERROR tells which.
            for sock in await driver.ready(racing, WRITE, _max_wait(deadline, more=bool(waiting))):
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not code:
                    racing.remove(sock)
                    return sock
                racing.remove(sock)
                sock.close()
                failure = OSError(code, os.strerror(code))
    finally:
        for sock in racing:
            sock.close()
    raise failure


def _alternate(addresses: Addresses) -> Addresses:
    """Alternate between the address families (RFC 8305, section 4), so that a broken one costs one head start."""
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
