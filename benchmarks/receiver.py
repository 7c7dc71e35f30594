"""A webhook receiver that costs little: a process of its own, which counts the distinct bodies that come."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 300.0
"""Seconds after which a wait has failed."""


class Hook(asyncio.Protocol):
    """One connection to the receiver; it reads no more of HTTP than it must."""

    def __init__(self, seen: set[bytes], count: Any) -> None:
        self.seen, self.count = seen, count
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        """Keep the way to answer."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
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
    """Be the process that receives webhooks, and say at which port and how many came."""

    async def serve() -> None:
        seen: set[bytes] = set()
        server = await asyncio.get_running_loop().create_server(lambda: Hook(seen, count), "127.0.0.1", 0)
        port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    asyncio.run(serve())


class Receiver:
    """Receives webhooks in a process of its own."""

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
    """Look every few milliseconds."""
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            raise TimeoutError("It takes too long.")
        time.sleep(0.002)
