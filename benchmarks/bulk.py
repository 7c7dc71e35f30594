"""Delivery of many results of 1 KB by PUT to a store that discards everything, over 16 connections.

The store is nginx with `return 200`, so only the clients' own cost is left. All contestants send the same bytes to the
same number of URLs. `write_many` takes tuples of a result and a presigned URL, and returns receipts; it runs in one
thread. requests has 16 threads with one `requests.put` for each URL, and obstore 16 threads with `put`. "16 targets" is
one `write` with 16 URLs, beside a `write` for each. `AsyncResultsWriter` runs the same coroutines in asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import requests

from benchmarks.delivery import AT_ONCE, HEADERS, RESULT
from benchmarks.harness import Case, Report, in_turns, parser
from callback_sdk import AsyncResultsWriter, ResultsWriter, S3Signer

BODY = b"x" * 1024

CONFIG = """
worker_processes 1; pid {folder}/pid; error_log {folder}/errors;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {folder}/bodies; client_max_body_size 0; keepalive_requests 1000000000;
  server {{ listen 127.0.0.1:{port}; location / {{ add_header ETag '"0"'; return 200; }} }}
}}
"""


@contextlib.contextmanager
def discarding_store() -> Iterator[str]:
    """Run nginx, which responds 200 to everything, and give its URL."""
    command = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if command is None:
        raise SystemExit("This benchmark needs nginx (Debian: nginx-light).")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "nginx.conf")
        config.write_text(CONFIG.format(folder=folder, port=port))
        process = subprocess.Popen([command, "-p", folder, "-e", f"{folder}/errors", "-c", config, "-g", "daemon off;"])
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _wait_for(port: int) -> None:
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise SystemExit("nginx doesn't start.")


class Contest:
    """All contestants, with their open connections.

    Args:
        url: URL of the store.
        count: Deliveries of one run, a multiple of 16.
    """

    def __init__(self, url: str, count: int) -> None:
        import boto3

        credentials = {"aws_access_key_id": "AK", "aws_secret_access_key": "SK", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=url, **credentials)
        self.keys = [f"runs/{number}.json" for number in range(count)]
        signer = S3Signer("results", client=client)
        self.urls = [target.url for target in signer.presign_put_many(self.keys, expires=timedelta(days=1))]
        self.url = url
        self.writer = ResultsWriter()
        self.pool = ThreadPoolExecutor(AT_ONCE)

    @cached_property
    def store(self) -> Any:
        """Return the store of obstore."""
        from obstore.store import S3Store

        return S3Store(
            "results",
            endpoint=self.url,
            access_key_id="AK",
            secret_access_key="SK",
            region="us-east-1",
            client_options={"allow_http": True},
        )

    def cases(self) -> list[Case]:
        """Return the contestants."""
        count = len(self.urls)
        groups = [self.urls[start : start + AT_ONCE] for start in range(0, count, AT_ONCE)]
        return [
            Case("write_many", self.write_many, count),
            Case("AsyncResultsWriter.write_many", lambda: asyncio.run(self.write_many_in_asyncio()), count),
            Case("write, one by one", lambda: [self.writer.write(RESULT, url) for url in self.urls], count),
            Case("write, 16 targets", lambda: [self.writer.write(RESULT, group) for group in groups], count),
            self._threaded("requests.put", self.requests_put, self.urls),
            self._threaded("obstore put", self.obstore_put, self.keys),
        ]

    def write_many(self) -> None:
        outcomes = self.writer.write_many([(RESULT, url) for url in self.urls], progress=False)
        if any(outcome.error for outcome in outcomes):
            raise RuntimeError("a delivery failed")

    async def write_many_in_asyncio(self) -> None:
        async with AsyncResultsWriter() as writer:
            await writer.write_many([(RESULT, url) for url in self.urls], progress=False)

    def requests_put(self, url: str) -> None:
        requests.put(url, BODY, headers=HEADERS, timeout=30).raise_for_status()

    def obstore_put(self, key: str) -> None:
        import obstore

        obstore.put(self.store, key, BODY, use_multipart=False)

    def close(self) -> None:
        """Close the connections."""
        self.pool.shutdown()
        self.writer.close()

    def _threaded(self, name: str, put: Callable[[str], Any], places: list[str]) -> Case:
        return Case(name, lambda: [*self.pool.map(put, places)], len(places))


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--count", type=int, default=10_000, help="deliveries per round (10,000)")
    chosen = options.parse_args()
    report = Report("bulk", as_json=chosen.json)
    with discarding_store() as url:
        contest = Contest(url, max(1, chosen.count // AT_ONCE) * AT_ONCE)
        with contextlib.closing(contest):
            times = in_turns(contest.cases(), chosen.rounds)
    report.table("1 KB to a store that discards everything", times, us="write_many")
    ours = times["write_many"].median
    report.bar("requests.put, 16 threads", times["requests.put"].median / ours, at_least=10)
    report.bar("obstore put, 16 threads", times["obstore put"].median / ours, at_least=0.8)
    alone = times["write, one by one"].median
    report.bar("16 targets beside one by one", alone / times["write, 16 targets"].median, at_least=1.5)
    cpu = times["AsyncResultsWriter.write_many"].median_cpu / times["write_many"].median_cpu
    report.bar("CPU of asyncio beside ours", cpu)
    report.end()


if __name__ == "__main__":
    main()
