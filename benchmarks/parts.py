"""Throughput of 1 GiB in parts to a local SeaweedFS, compared with boto3's `upload_file` and obstore's `put`.

All use plain HTTP, parts of one size, as many connections, and a file that is in the page cache. callback_sdk has only
presigned URLs; the others have the credentials. Only callback_sdk returns a SHA-256 of the whole document. Its results
were checked to be JSON before, as those that a service has stored.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from benchmarks.harness import Case, Report, in_turns, parser
from benchmarks.memory import make_results
from callback_sdk import JobResult, ResultsWriter, S3Signer
from callback_sdk.documents.body import Body, PathPart
from callback_sdk.testing import SeaweedFS
from callback_sdk.writer.attempts import MAX_PARALLEL

MIB = 1024**2
PART_SIZE = 16 * MIB
KEY = "results.json"


class Contest:
    """Uploads of one file to one object.

    Args:
        store: The object store.
        path: The file.
    """

    def __init__(self, store: SeaweedFS, path: Path) -> None:
        self.store = store
        self.path = path
        self.size = path.stat().st_size
        self.client = store.client()
        self.bucket = store.create_bucket()
        self.signer = S3Signer(self.bucket, client=self.client)
        self.writer = ResultsWriter(timeout=timedelta(minutes=5))

    def close(self) -> None:
        """Close connections."""
        self.writer.close()
        self.client.close()

    def ours(self) -> None:
        """Deliver through presigned URLs."""
        target = self.signer.presign_multipart(KEY, part_size=PART_SIZE, max_bytes=self.size + MIB)
        result = JobResult(job_id="1", success=True, results=Body(PathPart(self.path)))
        (receipt,) = self.writer.write(result, target)
        self._check(receipt.size)

    def boto3(self) -> None:
        """Upload with the transfer manager of boto3."""
        from boto3.s3.transfer import TransferConfig

        config = TransferConfig(
            multipart_threshold=PART_SIZE, multipart_chunksize=PART_SIZE, max_concurrency=MAX_PARALLEL
        )
        self.client.upload_file(str(self.path), self.bucket, KEY, Config=config)
        self._check(self.size)

    def obstore(self) -> None:
        """Upload with obstore, which is written in Rust."""
        import obstore
        from obstore.store import S3Store

        store = S3Store(
            self.bucket,
            endpoint=self.store.endpoint_url,
            access_key_id=self.store.access_key,
            secret_access_key=self.store.secret_key,
            region="us-east-1",
            client_options={"allow_http": True, "timeout": "300s"},
        )
        obstore.put(store, KEY, self.path, use_multipart=True, chunk_size=PART_SIZE, max_concurrency=MAX_PARALLEL)
        self._check(self.size)

    def cases(self) -> list[Case]:
        """Return the contestants that are installed."""
        found = [Case("ResultsWriter", self.ours), Case("boto3 upload_file", self.boto3)]
        with suppress(ImportError):
            import obstore  # noqa: F401

            found.append(Case("obstore put", self.obstore))
        return found

    def _check(self, size: int) -> None:
        head = self.client.head_object(Bucket=self.bucket, Key=KEY)
        assert (head["ContentLength"], head["ETag"].strip('"').partition("-")[2]) == (size, str(-(-size // PART_SIZE)))
        # The store writes to new volumes each time; removing the object lets it free the old ones.
        self.client.delete_object(Bucket=self.bucket, Key=KEY)


@contextmanager
def contest(store: SeaweedFS, size: int) -> Iterator[Contest]:
    """Prepare uploads of a file of about `size` bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "results.json")
        make_results(path, size)
        found = Contest(store, path)
        try:
            yield found
        finally:
            found.close()


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--size", type=int, default=1024, help="size of the file in MiB (1024)")
    chosen = options.parse_args()
    report = Report("parts", as_json=chosen.json)
    with SeaweedFS() as store, contest(store, chosen.size * MIB) as it:
        times = in_turns(it.cases(), chosen.rounds)
    report.table(f"{chosen.size} MiB in parts of {PART_SIZE // MIB} MiB", times, us="ResultsWriter")
    ours = times.pop("ResultsWriter").median
    for name, taken in times.items():
        report.bar(f"beside {name}", taken.median / ours)
    report.bar("beside the faster one", min(taken.median for taken in times.values()) / ours, at_least=0.9)
    report.end()


if __name__ == "__main__":
    main()
