"""Peak memory of a worker that delivers results from a file: 1 GiB beside 1 MiB, by PUT, POST and gzip.

Each delivery runs in a process of its own, to a local store that checks signature and Content-MD5. What
counts is how much the peak grows with the results.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from callback_sdk import JobResult, ResultsWriter, S3Signer
from callback_sdk.testing import SeaweedFS

MIB = 1024**2
BAR = 64.0
CASES = ("put", "post", "put gzip")


def make_results(path: Path, size: int) -> None:
    """Write a JSON list of numbers with about so many bytes."""
    row = b"".join(b"%d.%06d," % (n % 997, n * 7919 % 10**6) for n in range(65536))
    with path.open("wb") as file:
        file.write(b"[")
        while file.tell() < size - len(row):
            file.write(row)
        file.write(b"0]")


def deliver(target: str, results: Path) -> None:
    """Deliver once and print the peak in MiB; this is what the child process does."""
    order = json.loads(target)
    compress = "gzip" if order["gzip"] else None
    with ResultsWriter(deadline=timedelta(minutes=10), compress=compress) as writer:
        writer.write(JobResult(job_id="1", success=True, results=results), order["url"], order["param"])
    # Not getrusage: its peak begins with that of the parent process.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    print(int(line.split()[1]) / 1024)


def peak(order: dict[str, object], results: Path) -> float:
    """Run one delivery in a fresh process and return its peak in MiB."""
    command = [sys.executable, "-m", "benchmarks.memory", "--deliver", json.dumps(order), str(results)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="MiB of the large results (1024)")
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    parser.add_argument("--deliver", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.deliver:
        deliver(options.deliver[0], Path(options.deliver[1]))
        return
    growth = {}
    print(f"{'delivery':<10} {'1 MiB':>10} {f'{options.size} MiB':>10} {'growth':>10}   bar: {BAR:.0f} MiB")
    with tempfile.TemporaryDirectory() as folder, SeaweedFS() as store:
        small, large = Path(folder, "small.json"), Path(folder, "large.json")
        make_results(small, MIB)
        make_results(large, options.size * MIB)
        bucket = store.create_bucket()
        signer = S3Signer(bucket, client=store.client())
        for case in CASES:
            peaks = []
            for results in (small, large):
                target = signer.post("results.json") if case == "post" else signer.put("results.json")
                order = {"url": target.url, "param": target.callback_param, "gzip": "gzip" in case}
                peaks.append(peak(order, results))
                store.client().delete_object(Bucket=bucket, Key="results.json")
            growth[case] = peaks[1] - peaks[0]
            print(f"{case:<10} {peaks[0]:>6.1f} MiB {peaks[1]:>6.1f} MiB {growth[case]:>6.1f} MiB")
    if options.json:
        ratios = {case: round(value / BAR, 3) for case, value in growth.items()}
        print(json.dumps({"benchmark": "memory", "ratios": ratios}))


if __name__ == "__main__":
    main()
