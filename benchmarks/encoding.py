"""Encoding of result documents, compared with `json.dumps`: 1,000,000 floats in NumPy, and 100,000 nested records.

Each record is a dict with a UUID, a datetime, a Decimal, a dataclass, lists of floats and strings, and a dict. All
contestants return the bytes of the whole document; `json.dumps` has a `default=` for types that it doesn't support.
Bare orjson, on which the encoder of this package is built, is the limit of this machine. The records "with nulls" have
one more number, which may be missing or NaN: callback_sdk writes null for both and counts the NaN values, while
`json.dumps` writes `NaN`, which is not valid JSON. The documents are compared before the measurement.

The memory ratio is the growth of the peak memory of a process that delivers the document by PUT to a local store,
divided by the size of the document. Two copies of the document would result in 2. Each dataclass of the records adds 64
bytes, because CPython creates its `__dict__` on first access.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import subprocess
import sys
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import orjson

from benchmarks.harness import Case, Report, forget_peak, in_turns, parser, peak_memory
from callback_sdk import JobResult, ResultsWriter, S3Signer
from callback_sdk.documents.body import Body
from callback_sdk.documents.document import document, encode_results
from callback_sdk.testing import SeaweedFS

FLOATS, RECORDS = 1_000_000, 100_000
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
MIB = 1024**2


@dataclasses.dataclass
class Site:
    """The site of a record."""

    name: str
    latitude: float
    longitude: float


def floats() -> dict[str, Any]:
    """Return an array of floats with 16 or 17 significant digits."""
    return {"predictions": np.random.default_rng(1).normal(size=FLOATS)}


def records() -> dict[str, Any]:
    """Return nested records with distinct values."""
    return {"predictions": [record(number) for number in range(RECORDS)]}


def record(number: int) -> dict[str, Any]:
    """Return one record."""
    return {
        "id": UUID(int=pow(7919, number + 20, 2**128)),
        "at": START + timedelta(seconds=61.7 * number),
        "cost": Decimal(number * 7919 % 10**6) / 100,
        "site": Site(f"site {number % 97}", number * 0.0017 % 90, number * 0.0031 % 180),
        "loads": [number * step / 7 for step in range(8)],
        "labels": ["measured", "hourly", f"run {number % 13}"],
        "state": {"ok": number % 3 == 0, "life": number / 13},
    }


def records_with_nulls() -> dict[str, Any]:
    """Return records with a number that is often missing and sometimes NaN."""
    rests = (None, 0.5, None, math.nan)
    return {"predictions": [{**record(number), "rest": rests[number % 4]} for number in range(RECORDS)]}


MAKERS = {"floats": floats, "records": records, "records with nulls": records_with_nulls}


def ours(results: Any) -> tuple[Body, int]:
    """Return the document, and the number of values that were written as null."""
    with ExitStack() as stack:
        body, nulls_written = encode_results(results, stack)
        return document(JobResult(job_id="42", success=True), {}, body), nulls_written


def whole(results: Any) -> dict[str, Any]:
    """Return the members of the document."""
    return {"job_id": "42", "status": "Finished", "callback_param": {}, "success": True, "results": results}


def plain(value: Any) -> Any:
    """Convert values of types that `json.dumps` doesn't support."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    if isinstance(value, Site):
        return vars(value)
    raise TypeError(type(value))


def check(name: str, results: Any) -> None:
    """Check that the documents are correct."""
    body, nulls_written = ours(results)
    theirs = json.loads(json.dumps(whole(results), default=plain), parse_constant=lambda constant: None)
    numbers = [item.get("rest") for item in results["predictions"] if isinstance(item, dict)]
    if json.loads(body.read()) != theirs or nulls_written != sum(number != number for number in numbers):
        sys.exit(f"The document of the {name} is wrong.")


def contest(results: Any, rounds: int) -> Any:
    """Measure the contestants in turns."""
    return in_turns(
        [
            Case("document", lambda: ours(results)),
            Case("json.dumps", lambda: json.dumps(whole(results), default=plain).encode()),
            Case("bare orjson", lambda: orjson.dumps(whole(results), default=str, option=orjson.OPT_SERIALIZE_NUMPY)),
        ],
        rounds,
    )


def deliver(name: str, url: str) -> None:
    """Deliver once, and print the size of the document and the growth of the peak; runs in a separate process."""
    results = MAKERS[name]()
    with ResultsWriter(timeout=timedelta(minutes=5)) as writer:
        writer.write(JobResult(job_id="42", success=True, results=0.5), url)
        before = forget_peak()
        (receipt,) = writer.write(JobResult(job_id="42", success=True, results=results), url)
    print(json.dumps([receipt.size, peak_memory() - before]))


def growth(name: str, url: str) -> tuple[int, int]:
    """Deliver in a new process, and return the size of the document and the growth of the peak memory, in bytes."""
    command = [sys.executable, "-m", "benchmarks.encoding", "--deliver", name, url]
    size, grown = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return size, grown


def main() -> None:
    """Print the tables."""
    options = parser(__doc__)
    options.add_argument("--deliver", nargs=2, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.deliver:
        deliver(*chosen.deliver)
        return
    report = Report("encoding", as_json=chosen.json)
    speeds, memory = {}, {}
    bars: dict[str, float | None] = {"floats": 8, "records": 4, "records with nulls": None}
    for name in bars:
        results = MAKERS[name]()
        check(name, results)
        times = contest(results, chosen.rounds)
        report.table(f"{FLOATS if name == 'floats' else RECORDS:,} {name}", times, us="document")
        speeds[name] = times["json.dumps"].median / times["document"].median
    with SeaweedFS() as store:
        url = S3Signer(store.create_bucket(), client=store.client()).presign_put("results.json").url
        memory = {name: growth(name, url) for name in MAKERS}
    report.lines(
        "Peak memory of a delivery",
        [
            f"{name:<20} {size / MIB:>6.1f} MiB, grew by {grown / MIB:>6.1f} MiB"
            for name, (size, grown) in memory.items()
        ],
    )
    for name, bar in bars.items():
        report.bar(name, speeds[name], at_least=bar)
        size, grown = memory[name]
        report.bar(f"{name}, memory beside the document", grown / size, at_most=1.25)
    report.end()


if __name__ == "__main__":
    main()
