"""Encoding result documents: a NumPy array of 1,000,000 floats, and 100,000 nested records, beside `json.dumps`.

Each record is a dict with a UUID, a datetime, a Decimal, a dataclass, lists of floats and strings, and a dict. Each
makes the bytes of the whole document; `json.dumps` has a `default=` for what it doesn't know. Bare orjson, which ours
is built on, is what this machine can do. "With nulls" is the same with one number more in each record, which may be
missing or NaN: ours writes null for both and counts the NaN, while `json.dumps` writes `NaN`, which is no JSON, and
counts nothing. Before anything is measured, the documents are compared.

The memory is that of a process that delivers such a document by PUT to a local store: how much its peak grows while it
does, beside the size of the document. Two copies would be 2. The dataclasses of the records add 64 bytes each, because
they make their `__dict__` when it is first asked for.
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
    """Where a record is from."""

    name: str
    latitude: float
    longitude: float


def floats() -> dict[str, Any]:
    """Make an array of numbers with all their digits."""
    return {"predictions": np.random.default_rng(1).normal(size=FLOATS)}


def records() -> dict[str, Any]:
    """Make nested records, each with values of its own."""
    return {"predictions": [record(number) for number in range(RECORDS)]}


def record(number: int) -> dict[str, Any]:
    """Make one record."""
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
    """Make records with a number that is often missing, and sometimes NaN."""
    rests = (None, 0.5, None, math.nan)
    return {"predictions": [{**record(number), "rest": rests[number % 4]} for number in range(RECORDS)]}


MAKERS = {"floats": floats, "records": records, "records with nulls": records_with_nulls}


def ours(results: Any) -> tuple[Body, int]:
    """Return the document, and how many numbers became null."""
    with ExitStack() as stack:
        body, nulls_written = encode_results(results, stack)
        return document(JobResult(job_id="42", success=True), {}, body), nulls_written


def whole(results: Any) -> dict[str, Any]:
    """Return what the document is made of."""
    return {"job_id": "42", "status": "Finished", "callback_param": {}, "success": True, "results": results}


def plain(value: Any) -> Any:
    """Tell `json.dumps` what it doesn't know."""
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
    """Make sure that what is fast is also right."""
    body, nulls_written = ours(results)
    theirs = json.loads(json.dumps(whole(results), default=plain), parse_constant=lambda constant: None)
    numbers = [item.get("rest") for item in results["predictions"] if isinstance(item, dict)]
    if json.loads(body.read()) != theirs or nulls_written != sum(number != number for number in numbers):
        sys.exit(f"The document of the {name} is wrong.")


def contest(results: Any, rounds: int) -> Any:
    """Encode in turns."""
    return in_turns(
        [
            Case("document", lambda: ours(results)),
            Case("json.dumps", lambda: json.dumps(whole(results), default=plain).encode()),
            Case("bare orjson", lambda: orjson.dumps(whole(results), default=str, option=orjson.OPT_SERIALIZE_NUMPY)),
        ],
        rounds,
    )


def deliver(name: str, url: str) -> None:
    """Deliver once, and print the document's size and by how much the peak grew; a process of its own does this."""
    results = MAKERS[name]()
    with ResultsWriter(timeout=timedelta(minutes=5)) as writer:
        writer.write(JobResult(job_id="42", success=True, results=0.5), url)
        before = forget_peak()
        (receipt,) = writer.write(JobResult(job_id="42", success=True, results=results), url)
    print(json.dumps([receipt.size, peak_memory() - before]))


def growth(name: str, url: str) -> tuple[int, int]:
    """Deliver in a fresh process; return the document's size and the peak's growth, in bytes."""
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
