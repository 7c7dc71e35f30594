"""Blobs as objects in an S3 bucket, for services on many machines.

Its circuit breaker is for the bucket alone; those of receivers are in `concurrency.circuit`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from callback_sdk.documents.body import CHUNK_SIZE
from callback_sdk.errors import ConfigurationError, MissingExtraError
from callback_sdk.filesystem.files import remove
from callback_sdk.redaction import strip_traceback, without_credentials
from callback_sdk.service.blobs.errors import BlobMissingError, BlobStorageError, StorageUnavailableError
from callback_sdk.signer.buckets import environment_region
from callback_sdk.text.descriptions import sentence

_MIN_ORPHAN_AGE = 60 * 60.0
"""Age in seconds below which features without a task are kept: their task may not be committed yet."""

_PAUSE = 5.0
"""Seconds for which the circuit breaker stays open after a store did not respond; `check` ignores the breaker."""

_PROBE = 40.0
"""Seconds after which a half-open breaker admits another call: longer than the timeouts of one call."""

_TIMEOUTS: dict[str, dict[str, Any]] = {
    # botocore's defaults are 60 s each and five attempts; a silent store would block a worker's slot for minutes.
    "data": {"connect_timeout": 5, "read_timeout": 10, "retries": {"mode": "standard", "total_max_attempts": 2}},
    # Readiness probes, such as a load balancer's, time out after a few seconds.
    "check": {"connect_timeout": 2, "read_timeout": 3, "retries": {"mode": "standard", "total_max_attempts": 1}},
}


class BucketStorage:
    """Blobs under a prefix of a bucket. boto3 finds credentials, region and endpoint.

    Args:
        bucket: The bucket's name.
        prefix: Prefix of the blobs' keys.
        client: A boto3 S3 client; a new one when None.
    """

    def __init__(self, bucket: str, prefix: str = "", *, client: Any = None) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._given = client
        self._clients: dict[str, Any] = {}
        self._retry_at: float | None = None
        self._making = threading.Lock()

    def __repr__(self) -> str:
        return f"BucketStorage('s3://{self._bucket}/{self._prefix}')"

    def put(self, source: Path, name: str) -> None:
        """Upload a file and remove the source; see `BlobStorage.put`."""
        with self._translated_errors(name):
            config = _transfer_config(source.stat().st_size)
            self._client.upload_file(str(source), self._bucket, self._prefix + name, Config=config)
        remove(source)

    def copy(self, name: str, copy: str) -> None:
        """Copy an object within the bucket; see `BlobStorage.copy`."""
        source = {"Bucket": self._bucket, "Key": self._prefix + name}
        with self._translated_errors(name):
            self._client.copy(source, self._bucket, self._prefix + copy)

    @contextmanager
    def fetch(self, name: str, scratch: Path) -> Iterator[Path]:
        """Download the object to a temporary file; see `BlobStorage.fetch`."""
        path = scratch / f"{name.replace('/', '.')}.{threading.get_ident()}"
        try:
            with self._translated_errors(name):
                self._client.download_file(self._bucket, self._prefix + name, str(path))
            yield path
        finally:
            remove(path)

    def chunks(self, name: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield a range of the bytes; see `BlobStorage.chunks`."""
        if start >= stop:
            return
        with self._translated_errors(name):
            answer = self._client.get_object(
                Bucket=self._bucket, Key=self._prefix + name, Range=f"bytes={start}-{stop - 1}"
            )
            with closing(answer["Body"]) as body:
                for chunk in body.iter_chunks(CHUNK_SIZE):
                    start += len(chunk)
                    yield chunk
        if start < stop:
            raise BlobMissingError(f"{name} is shorter than the database says.", hint="Run the task again.")

    def remove(self, name: str) -> None:
        """Delete an object; see `BlobStorage.remove`."""
        with self._translated_errors(name):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + name)

    def clean(self, unfinished: Collection[str]) -> None:
        """Delete features of ended tasks, unless they are younger than an hour."""
        # The limit is computed once: during a long listing, a moving limit would reach features of tasks that are newer
        # than the list of unfinished tasks.
        oldest = time.time() - _MIN_ORPHAN_AGE
        place = f"{self._prefix}features/"
        with self._translated_errors("features"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=place)
            for page in pages:
                for found in page.get("Contents", ()):
                    old = found["LastModified"].timestamp() < oldest
                    if old and found["Key"].removeprefix(place) not in unfinished:
                        self._client.delete_object(Bucket=self._bucket, Key=found["Key"])

    def check(self) -> None:
        """Request the bucket's metadata; see `BlobStorage.check`."""
        with self._translated_errors("The bucket", always=True):
            self._client_for("check").head_bucket(Bucket=self._bucket)

    @property
    def _client(self) -> Any:
        return self._client_for("data")

    def _client_for(self, purpose: str) -> Any:
        # Created on first use, because that takes up to a second. Threads may share a client (boto3, "Clients").
        with self._making:
            if purpose not in self._clients:
                self._clients[purpose] = self._given or _new_client(_TIMEOUTS[purpose])
            return self._clients[purpose]

    @contextmanager
    def _translated_errors(self, name: str, *, always: bool = False) -> Iterator[None]:
        """Convert errors of boto3, and open the circuit breaker when the store doesn't respond.

        Without the breaker, each call to an unresponsive store would occupy a slot for its whole timeout.

        Args:
            name: Name of the object in errors.
            always: Whether to call the store even if the breaker is open.
        """
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
        from botocore.exceptions import ConnectionError as NoConnectionError

        failure: BlobStorageError
        if not always:
            self._pass_breaker()
        try:
            yield
        except (HTTPClientError, NoConnectionError) as error:
            self._retry_at = time.monotonic() + _PAUSE
            failure = StorageUnavailableError(
                f"The bucket {self._bucket!r} does not respond: {type(error).__name__}.",
                hint="Check the store, and the endpoint that boto3 finds.",
            )
        except (BotoCoreError, ClientError, Boto3Error) as error:
            # The frames of botocore in the traceback hold signed headers.
            cause = strip_traceback(error)
            failure = (BlobMissingError if _is_missing(error) else BlobStorageError)(
                f"{name} can't be stored in or read from bucket {self._bucket!r}: {sentence(str(cause))}",
                hint="Check the bucket, and the credentials, region and endpoint that boto3 finds.",
            )
        except OSError as error:
            failure = BlobStorageError(
                f"{name}: {error.strerror}.", hint="Check this machine's disk and its free space."
            )
        else:
            self._retry_at = None
            return
        raise failure

    def _pass_breaker(self) -> None:
        """Raise while the breaker is open, and let a single call pass when it is half-open."""
        with self._making:
            if self._retry_at is None:
                return
            wait = self._retry_at - time.monotonic()
            if wait <= 0:
                # Half-open: other calls fail at once until this call has shown whether the store responds again.
                self._retry_at = time.monotonic() + _PROBE
                return
        raise StorageUnavailableError(
            f"The bucket {self._bucket!r} did not respond recently; next attempt in {wait:.0f} s.",
            hint="Check the store, and the endpoint that boto3 finds.",
        )


def _is_missing(error: Exception) -> bool:
    response = getattr(error, "response", {})
    return response.get("Error", {}).get("Code") in ("NoSuchKey", "404")


def _transfer_config(size: int) -> Any:
    """Return the configuration of an upload: a file without parts is sent in the calling thread.

    Python waits at its exit for the threads of s3transfer, up to half a minute if the store doesn't respond.
    """
    from boto3.s3.transfer import TransferConfig

    config = TransferConfig()
    config.use_threads = size >= config.multipart_threshold
    return config


def _new_client(timeouts: dict[str, Any]) -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise MissingExtraError("boto3", extra="service") from None
    from botocore.exceptions import BotoCoreError

    try:
        config = Config(signature_version="s3v4", **timeouts)
        return boto3.client("s3", region_name=environment_region(), config=config)
    except (BotoCoreError, ValueError) as error:
        problem = without_credentials(str(error))
        raise ConfigurationError(f"boto3 can't use S3: {problem}.", hint="Check the AWS_... variables.") from None
