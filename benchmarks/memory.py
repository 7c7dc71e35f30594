"""Peak memory of a worker that delivers 1 GiB of results from a file by PUT, POST and gzip, compared with 1 MiB.

Each delivery runs in a separate process, to a local SeaweedFS that verifies the signature. The ratio is the growth of
the peak from 1 MiB to 1 GiB, divided by 64 MiB. It hardly varies, so one round is enough.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.harness import Report, parser, peak_memory
from callback_sdk import JobResult, ResultsWriter, S3Signer
from callback_sdk.testing import SeaweedFS

MIB = 1024**2
BAR = 64 * MIB
CASES = ("PUT", "POST", "PUT, gzip")
KEY = "results.json"


def make_results(path: Path, size: int) -> None:
    """Write a JSON list of numbers with about `size` bytes."""
    row = b"".join(b"%d.%06d," % (n % 997, n * 7919 % 10**6) for n in range(65536))
    with path.open("wb") as file:
        file.write(b"[")
        while file.tell() < size - len(row):
            file.write(row)
        file.write(b"0]")


def deliver(order: dict[str, Any]) -> None:
    """Deliver once, and print the peak memory in bytes; runs in the child process."""
    with ResultsWriter(timeout=timedelta(minutes=10), compress=order["compress"]) as writer:
        writer.write(JobResult(job_id="1", success=True, results=Path(order["path"])), order["url"], order["param"])
    print(peak_memory())


class Deliveries:
    """Deliveries to one object, each in a new process.

    Args:
        store: The object store.
    """

    def __init__(self, store: SeaweedFS) -> None:
        self.client = store.client()
        self.bucket = store.create_bucket()
        self.signer = S3Signer(self.bucket, client=self.client)

    def peak(self, case: str, results: Path) -> int:
        """Deliver once, and return the peak memory in bytes."""
        target = self.signer.presign_post(KEY) if case == "POST" else self.signer.presign_put(KEY)
        order = {
            "url": target.url,
            "param": target.callback_param,
            "path": str(results),
            "compress": "gzip" if "gzip" in case else None,
        }
        command = [sys.executable, "-m", "benchmarks.memory", "--deliver", json.dumps(order)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        self.client.delete_object(Bucket=self.bucket, Key=KEY)
        return int(printed)


def main() -> None:
    """Print the table."""
    options = parser(__doc__, rounds=1)
    options.add_argument("--size", type=int, default=1024, help="size of the large results in MiB (1024)")
    options.add_argument("--deliver", type=json.loads, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.deliver:
        deliver(chosen.deliver)
        return
    report = Report("memory", as_json=chosen.json)
    lines = [f"{'':<10}  {'1 MiB':>10}  {f'{chosen.size} MiB':>10}  {'growth':>10}  {'took':>8}"]
    with tempfile.TemporaryDirectory() as folder, SeaweedFS() as store:
        small, large = Path(folder, "small.json"), Path(folder, "large.json")
        make_results(small, MIB)
        make_results(large, chosen.size * MIB)
        deliveries = Deliveries(store)
        for case in CASES:
            begun = time.monotonic()
            peaks = [(deliveries.peak(case, small), deliveries.peak(case, large)) for _ in range(chosen.rounds)]
            few, many = (statistics.median(column) for column in zip(*peaks, strict=True))
            took = (time.monotonic() - begun) / chosen.rounds
            columns = [f"{size / MIB:>6.1f} MiB" for size in (few, many, many - few)]
            lines.append("  ".join([f"{case:<10}", *columns, f"{took:>6.1f} s"]))
            report.bar(f"{case}, growth beside 64 MiB", (many - few) / BAR, at_most=1)
    report.lines("Peak memory of a delivery", lines)
    report.end()


if __name__ == "__main__":
    main()
