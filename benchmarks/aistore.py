"""Objects in AIStore, whose proxy redirects each request to a node, beside plain boto3 at a store without redirects.

The servers run in another process and do nothing but answer, so that the CPU time is that of the client. As one that is
written in Go does, the proxy answers a PUT before it has the body, and closes the connection then. The loop in which a
bare request of urllib3 to the proxy comes before each request of boto3 is the limit of what a redirect costs.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable
from itertools import product
from types import TracebackType
from typing import Any

import boto3
import urllib3
from botocore.config import Config

from benchmarks.harness import Case, Report, in_turns, parser
from callback_sdk import aistore
from callback_sdk.aistore import patch

# Its import patches botocore.
patch.unpatch()

SIZES = {"10 KB": 10_000, "1 MiB": 1024 * 1024}
_ETAG = b'ETag: "0123456789abcdef0123456789abcdef"\r\n'
_PUT = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + _ETAG + b"\r\n"
_GET = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" + _ETAG + b"\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """One connection to a store, with a minimal parser of HTTP.

    Args:
        node: Where the store redirects to; empty for none.
    """

    def __init__(self, node: bytes) -> None:
        self._node = node
        self._buffer = b""
        self._continued = False

    def connection_made(self, transport: Any) -> None:
        """Store the transport for responses."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Respond to each request."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            method, path, _ = self._buffer[:end].split(b" ", 2)
            length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0] or 0)
            expects = b"\r\nexpect:" in head
            if self._node:
                self._redirect(path, close=length > 0)
            elif expects and not self._continued:
                self._transport.write(_CONTINUE)
                self._continued = True
            if not self._node:
                if len(self._buffer) < end + 4 + length:
                    return
                self._transport.write(_answer(path) if method == b"GET" else _PUT)
                self._continued = False
            self._buffer = self._buffer[end + 4 + length :]

    def _redirect(self, path: bytes, *, close: bool) -> None:
        body = b"<Error><Code>TemporaryRedirect</Code><Message>Redirect</Message></Error>"
        self._transport.write(
            b"HTTP/1.1 307 Temporary Redirect\r\nContent-Length: %d\r\nLocation: %s%s?ais_pid=p&ais_ts=1\r\n%s\r\n%s"
            % (len(body), self._node, path, b"Connection: close\r\n" if close else b"", body)
        )
        if close:
            self._transport.close()


def _answer(path: bytes) -> bytes:
    """Return an object of the size that its key has."""
    size = int(path.split(b"/")[3])
    return _GET % size + bytes(size)


def serve(ports: Any) -> None:
    """Run a node and a proxy that redirects to it, and store their ports in a shared array."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        node = await loop.create_server(lambda: Connection(b""), "127.0.0.1", 0)
        ports[0] = node.sockets[0].getsockname()[1]
        proxy = await loop.create_server(lambda: Connection(b"http://127.0.0.1:%d" % ports[0]), "127.0.0.1", 0)
        ports[1] = proxy.sockets[0].getsockname()[1]
        await proxy.serve_forever()

    asyncio.run(run())


class Servers:
    """A node, which is also a store without redirects, and a proxy, in another process."""

    def __enter__(self) -> Servers:
        context = multiprocessing.get_context("spawn")
        ports = context.Array("i", 2)
        self._process = context.Process(target=serve, args=(ports,), daemon=True)
        self._process.start()
        while not ports[1] and self._process.is_alive():
            self._process.join(0.01)
        if not ports[1]:
            raise RuntimeError("The servers did not start.")
        self.node, self.proxy = f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()


def plain(endpoint: str) -> Any:
    """Return a client as anybody would make it."""
    return boto3.client(
        "s3",
        endpoint_url=f"{endpoint}/s3",
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key="key",
        config=Config(
            s3={"addressing_style": "path"},
            proxies={},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def put(client: Any, size: int, count: int) -> Callable[[], None]:
    """Return a function that stores objects."""
    body = bytes(size)

    def run() -> None:
        for number in range(count):
            client.put_object(Bucket="b", Key=f"{size}/{number}", Body=body)

    return run


def get(client: Any, size: int, count: int) -> Callable[[], None]:
    """Return a function that reads objects."""

    def run() -> None:
        for number in range(count):
            client.get_object(Bucket="b", Key=f"{size}/{number}")["Body"].read()

    return run


class WithBareRequest:
    """boto3 at a store without redirects, with a bare request to a proxy before each of its own."""

    def __init__(self, servers: Servers) -> None:
        self._client = plain(servers.node)
        self._pool = urllib3.PoolManager()
        self._proxy = servers.proxy

    def put_object(self, **arguments: Any) -> Any:
        """Store an object."""
        self._ask("PUT", {"Content-Length": str(len(arguments["Body"])), "Expect": "100-continue"}, **arguments)
        return self._client.put_object(**arguments)

    def get_object(self, **arguments: Any) -> Any:
        """Read an object."""
        self._ask("GET", {}, **arguments)
        return self._client.get_object(**arguments)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._pool.clear()

    def _ask(self, method: str, headers: dict[str, str], *, Bucket: str, Key: str, **_: Any) -> None:  # noqa: N803
        url = f"{self._proxy}/s3/{Bucket}/{Key}"
        if self._pool.request(method, url, headers=headers, redirect=False, retries=False).status != 307:
            raise RuntimeError(url)


def contestants(servers: Servers) -> dict[str, Any]:
    """Return the clients by name; the last one is the peer."""
    return {
        "aistore.client with a token, redirected": aistore.client(servers.proxy, token="token"),
        "follow_redirects, redirected": aistore.follow_redirects(plain(servers.proxy)),
        "follow_redirects, not redirected": aistore.follow_redirects(plain(servers.node)),
        "boto3, not redirected, and a bare request": WithBareRequest(servers),
        "boto3, not redirected": plain(servers.node),
    }


def main() -> None:
    """Print the tables."""
    options = parser(__doc__, rounds=7)
    options.add_argument("--count", type=int, default=100, help="objects per round (100)")
    chosen = options.parse_args()
    report = Report("aistore", as_json=chosen.json)
    with Servers() as servers:
        clients = contestants(servers)
        for (name, size), operation in product(SIZES.items(), (put, get)):
            cases = [Case(who, operation(client, size, chosen.count), chosen.count) for who, client in clients.items()]
            times = in_turns(cases, chosen.rounds)
            what = f"{operation.__name__.upper()}, {name}"
            report.table(what, times, us=next(iter(clients)))
            *others, peer = times
            for who in others:
                bar = None if who.startswith("boto3") else 1.2
                report.bar(f"CPU, {what}, {who}", times[who].median_cpu / times[peer].median_cpu, at_most=bar)
    report.end()


if __name__ == "__main__":
    main()
