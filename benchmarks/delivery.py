"""Delivery of results of 1 KB by PUT to a local SeaweedFS that verifies signatures, one by one and 16 at once.

All contestants send the same bytes to the same number of objects. `ResultsWriter` validates the target, sends
`Content-MD5`, and returns a receipt. boto3 and obstore sign each request; the others use presigned URLs. "16 at once"
means one `write` with 16 targets, compared with 16 threads, and with `put_async` of obstore. The loop with
`http.client` checks nothing: it is the limit of this interpreter. If `wrk` is installed, its rate is the limit of the
server.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from botocore.config import Config

from benchmarks.harness import Case, Report, in_turns, parser
from callback_sdk import JobResult, ResultsWriter, S3Signer
from callback_sdk.testing import SeaweedFS

AT_ONCE = 16
HEADERS = {"Content-Type": "application/json"}
RESULT = JobResult(job_id="42", success=True, results={"predictions": [number / 7 for number in range(45)]})


class Contest:
    """All contestants, with their open connections.

    Args:
        store: The object store.
        count: Deliveries of one run, a multiple of 16.
    """

    def __init__(self, store: SeaweedFS, count: int) -> None:
        self.bucket = store.create_bucket()
        self.client = store.client(config=store.client().meta.config.merge(Config(max_pool_connections=AT_ONCE)))
        self.keys = [f"runs/{number}.json" for number in range(count)]
        signer = S3Signer(self.bucket, client=self.client)
        self.urls = [target.url for target in signer.presign_put_many(self.keys, expires=timedelta(days=1))]
        self.writer = ResultsWriter()
        self.writer.write(RESULT, self.urls[0])
        self.body = self.client.get_object(Bucket=self.bucket, Key=self.keys[0])["Body"].read()
        self.urllib3 = urllib3.PoolManager(maxsize=AT_ONCE)
        self._store = store
        self._own = threading.local()
        self._sessions: list[requests.Session] = []
        self._pool = ThreadPoolExecutor(AT_ONCE)

    def __enter__(self) -> Contest:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._pool.shutdown()
        for session in self._sessions:
            session.close()
        self.writer.close()
        self.urllib3.clear()
        self.client.close()

    def one_by_one(self) -> list[Case]:
        """Return the contestants with one thread."""
        return [
            Case("ResultsWriter", lambda: [self.writer.write(RESULT, url) for url in self.urls], len(self.urls)),
            self._each("requests.put", self.requests_put, self.urls),
            self._each("requests.Session", self.session_put, self.urls),
            self._each("boto3 put_object", self.boto3_put, self.keys),
            self._each("obstore put", self.obstore_put, self.keys),
            self._each("urllib3 PoolManager", self.urllib3_put, self.urls),
            Case("bare http.client", self.bare, len(self.urls)),
        ]

    def at_once(self) -> list[Case]:
        """Return the contestants with 16 requests at a time."""
        groups = [self.urls[start : start + AT_ONCE] for start in range(0, len(self.urls), AT_ONCE)]
        return [
            Case("ResultsWriter", lambda: [self.writer.write(RESULT, group) for group in groups], len(self.urls)),
            self._threaded("requests.put", self.requests_put, self.urls),
            self._threaded("requests.Session", self.session_put, self.urls),
            self._threaded("boto3 put_object", self.boto3_put, self.keys),
            Case("obstore put", lambda: asyncio.run(self.obstore_puts()), len(self.urls)),
            self._threaded("urllib3 PoolManager", self.urllib3_put, self.urls),
        ]

    @functools.cached_property
    def obstore(self) -> Any:
        """The client of obstore, imported here, so that the other contestants don't need it."""
        from obstore.store import S3Store

        return S3Store(
            self.bucket,
            endpoint=self._store.endpoint_url,
            access_key_id=self._store.access_key,
            secret_access_key=self._store.secret_key,
            region=self._store.region,
            client_options={"allow_http": True},
        )

    def requests_put(self, url: str) -> None:
        requests.put(url, self.body, headers=HEADERS, timeout=30).raise_for_status()

    def session_put(self, url: str) -> None:
        if not hasattr(self._own, "session"):
            self._own.session = requests.Session()
            self._sessions.append(self._own.session)
        self._own.session.put(url, self.body, headers=HEADERS, timeout=30).raise_for_status()

    def boto3_put(self, key: str) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=self.body, ContentType="application/json")

    def urllib3_put(self, url: str) -> None:
        answer = self.urllib3.request("PUT", url, body=self.body, headers=HEADERS, timeout=30)
        if answer.status != 200:
            raise RuntimeError(answer.data)

    def obstore_put(self, key: str) -> None:
        import obstore

        obstore.put(self.obstore, key, self.body, use_multipart=False)

    async def obstore_puts(self) -> None:
        import obstore

        for start in range(0, len(self.keys), AT_ONCE):
            puts = [
                obstore.put_async(self.obstore, key, self.body, use_multipart=False)
                for key in self.keys[start : start + AT_ONCE]
            ]
            await asyncio.gather(*puts)

    def bare(self) -> None:
        parts = urlsplit(self.urls[0])
        with contextlib.closing(http.client.HTTPConnection(parts.hostname or "", parts.port)) as connection:
            for url in self.urls:
                connection.request("PUT", url.removeprefix(f"http://{parts.netloc}"), self.body, HEADERS)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    raise RuntimeError(answer.reason)

    def _each(self, name: str, put: Callable[[str], Any], places: list[str]) -> Case:
        return Case(name, lambda: [put(place) for place in places], len(places))

    def _threaded(self, name: str, put: Callable[[str], Any], places: list[str]) -> Case:
        return Case(name, lambda: [*self._pool.map(put, places)], len(places))


def main() -> None:
    """Print the tables."""
    options = parser(__doc__)
    options.add_argument("--count", type=int, default=480, help="deliveries per round (480)")
    chosen = options.parse_args()
    report = Report("delivery", as_json=chosen.json)
    with SeaweedFS() as store, Contest(store, max(1, chosen.count // AT_ONCE) * AT_ONCE) as contest:
        one = in_turns(contest.one_by_one(), chosen.rounds)
        many = in_turns(contest.at_once(), chosen.rounds)
        server = list(wrk(contest))
    report.table(f"One by one, {len(contest.body)} bytes", one, us="ResultsWriter")
    report.table("16 at once", many, us="ResultsWriter")
    report.lines("What the server can do (wrk)", server)
    ours = one["ResultsWriter"]
    report.bar("requests.put", one["requests.put"].median / ours.median, at_least=2)
    report.bar("boto3 put_object", one["boto3 put_object"].median / ours.median, at_least=2)
    report.bar("CPU beside requests.put", ours.median_cpu / one["requests.put"].median_cpu, at_most=0.3)
    ours = many["ResultsWriter"]
    for peer, bar in (("requests.put", 3), ("boto3 put_object", 4), ("obstore put", 0.7)):
        report.bar(f"16 at once, {peer}", many[peer].median / ours.median, at_least=bar)
    report.end()


def wrk(contest: Contest) -> Iterator[str]:
    """Measure the server with `wrk`, which uploads one object repeatedly over 1 and over 16 connections."""
    command: Any = shutil.which("wrk")
    if command is None:
        yield "wrk is not installed."
        return
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f"wrk.method = 'PUT'\nwrk.body = [==[{contest.body.decode()}]==]\n")
        script.write("wrk.headers['Content-Type'] = 'application/json'\n")
        script.flush()
        for connections in (1, AT_ONCE):
            options = ["-t1", f"-c{connections}", "-d5s", "-s", script.name, contest.urls[0]]
            output = subprocess.run([command, *options], check=True, capture_output=True, text=True).stdout
            (line,) = (line for line in output.splitlines() if line.startswith("Requests/sec"))
            yield f"{connections:>2} at once: {float(line.split()[1]):,.0f} a second"


if __name__ == "__main__":
    main()
