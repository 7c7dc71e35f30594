"""Peak memory of a worker that delivers large results from a file, compared with 1 MiB.

By PUT, POST and gzip 1 GiB, and 6 GiB in parts through presigned URLs of an S3 multipart upload and in blocks to Azure.
Each delivery runs in a separate process, to a local SeaweedFS that verifies the signature, or to Azurite. The ratio is
the growth of the peak from 1 MiB, divided by 64 MiB. It hardly varies, so one round is enough.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import Report, parser, peak_memory
from callback_sdk import JobResult, ResultsWriter, S3Signer
from callback_sdk.documents.body import Body, PathPart
from callback_sdk.testing import SeaweedFS

if TYPE_CHECKING:
    from tests.checkers.azurite import Azurite

MIB = 1024**2
BAR = 64 * MIB
KEY = "results.json"
LIFE = timedelta(hours=6)


def make_results(path: Path, size: int) -> None:
    """Write a JSON list of numbers with about `size` bytes."""
    row = b"".join(b"%d.%06d," % (n % 997, n * 7919 % 10**6) for n in range(65536))
    with path.open("wb") as file:
        file.write(b"[")
        while file.tell() < size - len(row):
            file.write(row)
        file.write(b"0]")


def deliver(order: dict[str, Any]) -> None:
    """Deliver once, and print the peak memory in bytes and the receipt; runs in the child process."""
    with ResultsWriter(timeout=timedelta(minutes=10), compress=order["compress"]) as writer:
        path = Path(order["path"])
        results = Body(PathPart(path)) if order["is_checked"] else path
        result = JobResult(job_id="1", success=True, results=results)
        (receipt,) = writer.write(result, order["url"], order["param"])
    print(json.dumps([peak_memory(), receipt.size]))


class Deliveries:
    """Deliveries to one object, each in a new process.

    Args:
        store: The object store.
    """

    def __init__(self, store: SeaweedFS) -> None:
        self.client = store.client()
        self.bucket = store.create_bucket()
        self.signer = S3Signer(self.bucket, client=self.client)

    def put(self, results: Path, *, compress: str | None = None) -> int:
        """Deliver by PUT, and return the peak memory in bytes."""
        return self._peak(self.signer.presign_put(KEY, expires=LIFE), results, compress)

    def post(self, results: Path) -> int:
        """Deliver by POST."""
        return self._peak(self.signer.presign_post(KEY, expires=LIFE), results)

    def parts(self, results: Path) -> int:
        """Deliver in parts of 16 MiB."""
        size = results.stat().st_size + MIB
        target = self.signer.presign_multipart(KEY, part_size=16 * MIB, max_bytes=size, expires=LIFE)
        return self._peak(target, results, is_checked=True)

    def _peak(self, target: Any, results: Path, compress: str | None = None, *, is_checked: bool = False) -> int:
        peak, size = run(target.url, target.callback_param, results, compress, is_checked=is_checked)
        assert self.client.head_object(Bucket=self.bucket, Key=KEY)["ContentLength"] == size
        self.client.delete_object(Bucket=self.bucket, Key=KEY)
        return peak


def in_blocks(server: Azurite, results: Path) -> int:
    """Deliver to Azurite, and return the peak memory in bytes."""
    peak, size = run(server.sign(KEY, expires=LIFE), None, results, is_checked=True)
    with server.client() as client:
        blob = client.get_blob_client("results", KEY)
        assert blob.get_blob_properties().size == size
        blob.delete_blob()
    return peak


def run(
    url: str, param: Any, results: Path, compress: str | None = None, *, is_checked: bool = False
) -> tuple[int, int]:
    """Deliver in a new process, and return its peak memory and the size of the document, in bytes.

    Args:
        url: URL of the target.
        param: Its `callback_param`.
        results: File of the results.
        compress: `"gzip"` or None.
        is_checked: Whether the file is known to be JSON, as the results that a service has stored.
    """
    order = {"url": url, "param": param, "path": str(results), "compress": compress, "is_checked": is_checked}
    # Not on the command line, whose length is limited: each part has a URL.
    printed = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "--deliver"],
        input=json.dumps(order),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    peak, size = json.loads(printed)
    return peak, size


def main() -> None:
    """Print the table."""
    options = parser(__doc__, rounds=1)
    options.add_argument("--size", type=int, default=1024, help="size of the large results in MiB (1024)")
    options.add_argument("--in-parts", type=int, default=6144, help="size of those in parts and blocks in MiB (6144)")
    options.add_argument("--cases", help="cases to run, separated by commas; all of them by default")
    options.add_argument("--deliver", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.deliver:
        deliver(json.load(sys.stdin))
        return
    # Imported here: the child process has no use for Azure's SDK, and would have its memory.
    from tests.checkers import azurite

    report = Report("memory", as_json=chosen.json)
    lines = [f"{'':<16}  {'1 MiB':>10}  {'large':>10}  {'growth':>10}  {'size':>9}  {'took':>8}"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        deliveries = Deliveries(stack.enter_context(SeaweedFS()))
        command = azurite.find()
        assert command is not None, azurite.HOW_TO_GET_IT
        server = stack.enter_context(azurite.running(command))
        cases: dict[str, tuple[Callable[[Path], int], int]] = {
            "PUT": (deliveries.put, chosen.size),
            "POST": (deliveries.post, chosen.size),
            "PUT, gzip": (lambda results: deliveries.put(results, compress="gzip"), chosen.size),
            "S3 in parts": (deliveries.parts, chosen.in_parts),
            "Azure in blocks": (lambda results: in_blocks(server, results), chosen.in_parts),
        }
        if chosen.cases:
            cases = {case: cases[case] for case in chosen.cases.split(",")}
        small, large = folder / "small.json", folder / "large.json"
        make_results(small, MIB)
        written = 0
        for case, (peak, size) in cases.items():
            if size != written:
                make_results(large, size * MIB)
                written = size
            begun = time.monotonic()
            peaks = [(peak(small), peak(large)) for _ in range(chosen.rounds)]
            few, many = (statistics.median(column) for column in zip(*peaks, strict=True))
            took = (time.monotonic() - begun) / chosen.rounds
            columns = [f"{number / MIB:>6.1f} MiB" for number in (few, many, many - few)]
            lines.append("  ".join([f"{case:<16}", *columns, f"{size:>5} MiB", f"{took:>6.1f} s"]))
            report.bar(f"{case}, growth beside 64 MiB", (many - few) / BAR, at_most=1)
    report.lines("Peak memory of a delivery", lines)
    report.end()


if __name__ == "__main__":
    main()
