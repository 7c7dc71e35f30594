"""callback_sdk.service.blobs: the contract of directory and bucket storage."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError

from callback_sdk.errors import ConfigurationError
from callback_sdk.service.blobs import BlobStorage, BlobStorageError, features_name, open_blobs, results_name
from callback_sdk.service.blobs.bucket import BucketStorage
from callback_sdk.service.blobs.folder import DirectoryStorage
from callback_sdk.testing import SeaweedFS


@pytest.fixture(params=["folder", "bucket"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStorage:
    """Give an empty place of each kind."""
    if request.param == "folder":
        return DirectoryStorage(tmp_path / "blobs")
    seaweedfs: SeaweedFS = request.getfixturevalue("seaweedfs")
    return BucketStorage(seaweedfs.create_bucket(), "some/prefix", client=seaweedfs.client())


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Return an empty directory."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def put(blobs: BlobStorage, scratch: Path, name: str, data: bytes = b"0123456789") -> None:
    source = scratch / "source"
    source.write_bytes(data)
    blobs.put(source, name)
    assert not source.exists()


def test_a_stored_blob_can_be_read(blobs: BlobStorage, scratch: Path) -> None:
    """As a file and in ranges, and no temporary copy is left."""
    name = features_name("1")
    put(blobs, scratch, name)
    with blobs.fetch(name, scratch) as path:
        assert path.read_bytes() == b"0123456789"
    assert b"".join(blobs.chunks(name, 2, 5)) == b"234"
    assert b"".join(blobs.chunks(name, 5, 5)) == b""
    assert not list(scratch.iterdir())
    put(blobs, scratch, name, b"new")
    assert b"".join(blobs.chunks(name, 0, 3)) == b"new"


def test_an_unresponsive_bucket_opens_the_circuit_breaker(scratch: Path) -> None:
    """Each call would take its whole timeout, so the next one fails at once, except for checks."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        config = Config(retries={"total_max_attempts": 1}, connect_timeout=1)
        keys = {"aws_access_key_id": "A", "aws_secret_access_key": "S", "region_name": "us-east-1"}
        bucket = BucketStorage("b", client=boto3.client("s3", endpoint_url=endpoint, config=config, **keys))
        with pytest.raises(BlobStorageError, match=r"does not respond: EndpointConnectionError"):
            put(bucket, scratch, results_name("1", 1))
        with pytest.raises(BlobStorageError, match="next attempt in"):
            bucket.remove(results_name("1", 1))
        # After the pause one call alone goes through.
        bucket._retry_at = 0.0
        bucket._pass_breaker()
        with pytest.raises(BlobStorageError, match="next attempt in"):
            bucket._pass_breaker()
        with pytest.raises(BlobStorageError, match="does not respond"):
            bucket.check()


@pytest.mark.parametrize("links", [True, False])
def test_a_copy_survives_the_removal_of_the_original(
    blobs: BlobStorage, scratch: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """With and without hard links."""
    if not links:

        def refused(*_: object) -> None:
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refused)
    put(blobs, scratch, features_name("1"))
    blobs.copy(features_name("1"), features_name("2"))
    blobs.remove(features_name("1"))
    assert b"".join(blobs.chunks(features_name("2"), 0, 10)) == b"0123456789"
    with pytest.raises(BlobStorageError):
        blobs.copy(features_name("1"), features_name("3"))


@pytest.mark.parametrize("far", [False, True])
def test_keeping_can_be_repeated_after_a_fault(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, far: bool
) -> None:
    """Whichever step it was that failed, the file is there in the end, once; also from another file system."""
    whole, faults = os.fsync, []

    def fail_once(descriptor: int) -> None:
        faults.append(descriptor)
        if len(faults) == failing:
            raise OSError(5, "Input/output error")
        whole(descriptor)

    for failing in (1, 2, 3):
        faults.clear()
        blobs = DirectoryStorage(tmp_path / f"blobs{failing}")
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fail_once)
            if far:
                patched.setattr(Path, "stat", _elsewhere(scratch / "source"))
            (scratch / "source").write_bytes(b"0123456789")
            for _ in range(2):
                with contextlib.suppress(BlobStorageError):
                    blobs.put(scratch / "source", "42.features")
        assert b"".join(blobs.chunks("42.features", 0, 10)) == b"0123456789"
        assert not (scratch / "source").exists()


def _elsewhere(source: Path) -> Callable[..., os.stat_result]:
    """Return a `Path.stat` that puts one file onto another file system."""
    whole = Path.stat

    def stat(self: Path, **options: bool) -> os.stat_result:
        found = whole(self, **options)
        return os.stat_result([*found[:2], found.st_dev + 1, *found[3:]]) if self == source else found

    return stat


def test_a_removed_blob_can_not_be_read(blobs: BlobStorage, scratch: Path) -> None:
    """A second removal isn't an error; reading is an error with a hint."""
    name = results_name("1", 2)
    put(blobs, scratch, name)
    blobs.remove(name)
    blobs.remove(name)
    with pytest.raises(BlobStorageError, match=r"results/1\.2\.json"), blobs.fetch(name, scratch):
        pass
    with pytest.raises(BlobStorageError):
        list(blobs.chunks(name, 0, 1))


def test_too_few_bytes_are_an_error(blobs: BlobStorage, scratch: Path) -> None:
    """A result that is shorter than the store says is never shown as if it were whole."""
    put(blobs, scratch, "results/x", b"short")
    with pytest.raises(BlobStorageError, match="shorter"):
        list(blobs.chunks("results/x", 0, 9))


def test_cleaning_keeps_recent_and_used_blobs(blobs: BlobStorage, scratch: Path) -> None:
    """The task of recent features may not be committed yet."""
    put(blobs, scratch, features_name("1"))
    blobs.clean(frozenset())
    assert b"".join(blobs.chunks(features_name("1"), 0, 1)) == b"0"
    blobs.check()


def test_cleaning_removes_old_unused_blobs(tmp_path: Path) -> None:
    """After a kill, files of ended tasks are removed, and those of unfinished tasks are kept."""
    folder = DirectoryStorage(tmp_path)
    for name in ("features/1", "features/2", "results/1.1.json", "results/.half"):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (0, 0))
    folder.clean(frozenset({"1"}))
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"features/1", "results/1.1.json"}


def test_a_missing_bucket_is_a_clear_error(seaweedfs: SeaweedFS, scratch: Path) -> None:
    """The error names the bucket, and has no frames of botocore."""
    bucket = BucketStorage("nobody-made-this", client=seaweedfs.client())
    with pytest.raises(BlobStorageError, match="nobody-made-this") as caught:
        bucket.check()
    assert caught.value.__cause__ is None


def test_a_failed_upload_keeps_the_source(scratch: Path) -> None:
    """If the store is unavailable, the file is still there for the next attempt."""
    source = scratch / "source"
    source.write_bytes(b"x")
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=1)
    client = boto3.client(
        "s3",
        endpoint_url="http://127.0.0.1:9",
        region_name="x",
        aws_access_key_id="AK",
        aws_secret_access_key="SK",
        config=config,
    )
    with pytest.raises(BlobStorageError, match="endpoint"):
        BucketStorage("results", client=client).put(source, "features/1")
    assert source.exists()


def test_a_small_file_is_uploaded_by_the_calling_thread(scratch: Path) -> None:
    """A thread of boto3 that waits for an unresponsive store would delay the end of the process."""
    source = scratch / "source"
    source.write_bytes(b"x")
    client = boto3.client("s3", region_name="x", aws_access_key_id="AK", aws_secret_access_key="SK")
    callers = []

    def refuse(**_: object) -> None:
        callers.append(threading.current_thread())
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")

    client.meta.events.register("before-call.s3.PutObject", refuse)
    with pytest.raises(BlobStorageError):
        BucketStorage("results", client=client).put(source, "features/1")
    assert callers == [threading.current_thread()]


def test_a_location_is_a_directory_or_a_bucket(tmp_path: Path) -> None:
    """Any other location is rejected at startup."""
    assert repr(open_blobs("s3://results/of/mine")) == "BucketStorage('s3://results/of/mine/')"
    assert repr(open_blobs(str(tmp_path / "x"))) == f"Folder({str(tmp_path / 'x')!r})"
    for wrong in ("http://x/y", "s3://", "", "s3://user:hunter2@bucket/x"):
        with pytest.raises(ConfigurationError, match="not a location") as caught:
            open_blobs(wrong)
        assert "hunter2" not in str(caught.value)
