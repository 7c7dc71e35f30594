"""A cheap webhook receiver in a separate process, which counts the distinct bodies."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 300.0
"""Timeout of a wait, in seconds."""


class Hook(asyncio.Protocol):
    """One connection to the receiver, with a minimal parser of HTTP."""

    def __init__(self, seen: set[bytes], count: Any) -> None:
        self.seen, self.count = seen, count
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        """Store the transport for responses."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Respond to each complete request."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            length = int(self.buffer[:end].lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
            if len(self.buffer) < end + 4 + length:
                return
            self.seen.add(self.buffer[end + 4 : end + 4 + length])
            self.buffer = self.buffer[end + 4 + length :]
            self.count.value = len(self.seen)
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def receive(port: Any, count: Any) -> None:
    """Receive webhooks; store the port and the number of distinct bodies in shared values."""

    async def serve() -> None:
        seen: set[bytes] = set()
        server = await asyncio.get_running_loop().create_server(lambda: Hook(seen, count), "127.0.0.1", 0)
        port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    asyncio.run(serve())


class Receiver:
    """Receives webhooks in a separate process."""

    def __enter__(self) -> Receiver:
        context = multiprocessing.get_context("spawn")
        port, self.count = context.Value("i", 0, lock=False), context.Value("i", 0, lock=False)
        self.process = context.Process(target=receive, args=(port, self.count), daemon=True)
        self.process.start()
        wait_until(lambda: port.value > 0)
        self.url = f"http://127.0.0.1:{port.value}/done"
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.process.kill()
        self.process.join()


def wait_until(done: Callable[[], bool]) -> None:
    """Poll a condition every few milliseconds until it holds."""
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"The wait took longer than {PATIENCE:g} s.")
        time.sleep(0.002)
