"""Documents in blocks to Azurite: with any SAS, at any failure, and never a partial blob."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from azure.storage.blob import BlobSasPermissions

from callback_sdk import JobResult, Outbox, ResultsWriter
from callback_sdk.errors import DeliveryError
from callback_sdk.targets import azure as azure_module
from callback_sdk.targets import azure_blocks
from callback_sdk.writer import multipart
from tests.checkers.azurite import CONTAINER, Azurite
from tests.faultyproxy import Failure, FaultyProxy

KIB = 1024
BLOCK = 64 * KIB
READ = BlobSasPermissions(read=True, create=True, write=True)
ONCE = {"s3_headers": {"if-none-match": "*"}}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send documents of 64 KiB and more in blocks."""
    monkeypatch.setattr(azure_module, "SINGLE_BLOB", BLOCK)
    monkeypatch.setattr(azure_blocks, "BLOCK_SIZE", BLOCK)


@pytest.fixture
def proxy(azure: Azurite) -> Iterator[FaultyProxy]:
    """Run a proxy in front of the server."""
    with FaultyProxy(int(azure.endpoint.split(":")[2].split("/")[0])) as it:
        yield it


def through(azure: Azurite, proxy: FaultyProxy) -> Azurite:
    """Return the account at the proxy. A SAS is not made for a host."""
    return evolve(azure, endpoint=f"http://127.0.0.1:{proxy.port}/{azure.account}")


def result(number: int = 1, *, size: int = 5 * BLOCK) -> JobResult:
    return JobResult(job_id=str(number), success=True, results={"text": chr(97 + number % 26) * size})


def uncommitted(azure: Azurite, name: str) -> int:
    """Return the number of blocks that no list has."""
    with azure.client() as client:
        return len(client.get_blob_client(CONTAINER, name).get_block_list("all")[1])


@pytest.mark.parametrize("permission", [None, BlobSasPermissions(write=True), READ])
def test_document_in_blocks_equals_one_in_one_request(azure: Azurite, permission: BlobSasPermissions | None) -> None:
    """Bytes, type, encoding and MD5 of the blob; a receipt with the SHA-256 of all."""
    with ResultsWriter(compress="gzip") as writer:
        noise = JobResult(job_id="1", success=True, results=random.Random(1).randbytes(3 * BLOCK).hex())
        (receipt,) = writer.write(noise, azure.sign("blocks.json", permission=permission))
    with azure.client() as client:
        blob = client.get_blob_client(CONTAINER, "blocks.json")
        stored = blob.download_blob(decompress=False).readall()
        settings, blocks = blob.get_blob_properties().content_settings, blob.get_block_list("committed")[0]
    assert (receipt.size, receipt.sha256) == (len(stored), hashlib.sha256(stored).hexdigest())
    assert len(blocks) == -(-len(stored) // BLOCK) > 2
    assert bytes(settings.content_md5) == hashlib.md5(stored).digest()
    assert (settings.content_type, settings.content_encoding) == ("application/json", "gzip")


def test_signature_that_may_only_create_gets_one_request(azure: Azurite) -> None:
    """Azure wants the permission to write for blocks (Azure/azure-cli#16899)."""
    with ResultsWriter() as writer:
        writer.write(result(), azure.sign("created.json", permission=BlobSasPermissions(create=True)))
    with azure.client() as client:
        assert client.get_blob_client(CONTAINER, "created.json").get_block_list("committed")[0] == []
    assert azure.read("created.json")


def test_small_and_large_documents_replace_each_other(azure: Azurite) -> None:
    """A blob of blocks, then one of one request, then one of blocks again."""
    url = azure.sign("replaced.json")
    with ResultsWriter() as writer:
        for number, size in enumerate([3 * BLOCK, 10, 2 * BLOCK, 4 * BLOCK]):
            writer.write(result(number, size=size), url)
            assert json.loads(azure.read("replaced.json") or b"")["job_id"] == str(number)


def test_everything_arrives_with_every_fifth_request_failing(azure: Azurite, proxy: FaultyProxy) -> None:
    """Errors, connections that break within the body, and lost responses; each block is retried alone."""
    chance = random.Random(5)
    proxy.choose = lambda *_: chance.choice(list(Failure)) if chance.random() < 0.2 else None
    there = through(azure, proxy)
    with ResultsWriter(timeout=60) as writer, ThreadPoolExecutor(4) as pool:
        jobs = {f"faults/{number}.json": result(number, size=8 * BLOCK) for number in range(24)}
        sent = pool.map(lambda item: writer.write(item[1], there.sign(item[0]))[0], jobs.items())
        receipts = dict(zip(jobs, sent, strict=True))
    assert len(proxy.requests) > 24 * 10
    for name, receipt in receipts.items():
        assert hashlib.sha256(azure.read(name) or b"").hexdigest() == receipt.sha256
        assert uncommitted(azure, name) == 0


def test_list_whose_response_was_lost_is_sent_again(azure: Azurite, proxy: FaultyProxy) -> None:
    """`Latest` finds the blocks that are committed already; none is sent twice."""
    lists = iter([Failure.LOST, Failure.LOST])
    proxy.choose = lambda method, path, number: next(lists, None) if "comp=blocklist" in path else None
    with ResultsWriter() as writer:
        (receipt,) = writer.write(result(), through(azure, proxy).sign("lost.json"))
    assert receipt.attempts == 1
    assert hashlib.sha256(azure.read("lost.json") or b"").hexdigest() == receipt.sha256
    assert [("comp=blocklist" in path) for _, path in proxy.requests].count(True) == 3
    assert len(proxy.requests) == 6 + 3


@pytest.mark.parametrize("permission", [READ, None])
def test_blob_that_may_be_written_once_is_recognized(
    azure: Azurite, proxy: FaultyProxy, permission: BlobSasPermissions | None
) -> None:
    """If the response to its list was lost: with permission to read it by its MD5, without one not at all."""
    name = f"once-{permission is not None}.json"
    proxy.choose = lambda method, path, number: Failure.LOST if "comp=blocklist" in path and number < 7 else None
    with ResultsWriter() as writer:
        url = through(azure, proxy).sign(name, permission=permission)
        if permission is None:
            with pytest.raises(DeliveryError, match="BlobAlreadyExists"):
                writer.write(result(), url, ONCE)
        else:
            (receipt,) = writer.write(result(), url, ONCE)
            assert receipt.sha256 == hashlib.sha256(azure.read(name) or b"").hexdigest()
            # Another document is not taken for it.
            with pytest.raises(DeliveryError, match="BlobAlreadyExists"):
                writer.write(result(2), url, ONCE)
    assert json.loads(azure.read(name) or b"")["job_id"] == "1"


def test_upload_begins_again_when_another_one_was_committed(azure: Azurite, proxy: FaultyProxy) -> None:
    """Its blocks were discarded: all are sent again, by the next attempt."""

    def interfere(method: str, path: str, number: int) -> None:
        if "comp=blocklist" in path and len(calls) < 1:
            calls.append(path)
            with ResultsWriter() as other:
                other.write(result(9), azure.sign("contested.json"))

    calls: list[str] = []
    proxy.choose = interfere
    with ResultsWriter() as writer:
        (receipt,) = writer.write(result(), through(azure, proxy).sign("contested.json"))
    assert receipt.attempts == 2
    assert hashlib.sha256(azure.read("contested.json") or b"").hexdigest() == receipt.sha256


@pytest.mark.parametrize("same", [True, False])
def test_uploads_at_the_same_time_never_mix(azure: Azurite, *, same: bool) -> None:
    """Equal documents share their blocks; of different ones, each whole (azure-sdk-for-net#45510)."""
    name = f"shared-{same}.json"
    with ResultsWriter(timeout=60) as writer, ThreadPoolExecutor(6) as pool:
        results = [result(1 if same else number, size=10 * BLOCK) for number in range(6)]
        receipts = list(pool.map(lambda given: writer.write(given, azure.sign(name))[0], results))
        assert hashlib.sha256(azure.read(name) or b"").hexdigest() in {receipt.sha256 for receipt in receipts}


def test_blocks_that_azures_sdk_left_are_no_obstacle(azure: Azurite) -> None:
    """Its ids have the same length (Azure/azure-sdk-for-python: 48 bytes)."""
    with azure.client() as client:
        blob = client.get_blob_client(CONTAINER, "left.json")
        blob.upload_blob(b"x" * 10, overwrite=True)
        blob.stage_block(f"{7:048d}", b"left over")
    with ResultsWriter() as writer:
        (receipt,) = writer.write(result(), azure.sign("left.json"))
    assert hashlib.sha256(azure.read("left.json") or b"").hexdigest() == receipt.sha256
    assert uncommitted(azure, "left.json") == 0


def test_blocks_of_another_length_are_an_error_that_says_so(azure: Azurite) -> None:
    """Azure keeps them for a week (aloneguid/stowage#11)."""
    with azure.client() as client:
        client.get_blob_client(CONTAINER, "short.json").stage_block("short", b"left over")
    with ResultsWriter() as writer, pytest.raises(DeliveryError, match="InvalidBlobOrBlock") as caught:
        writer.write(result(), azure.sign("short.json"))
    assert "another length" in caught.value.hint
    assert not caught.value.retryable
    assert azure.read("short.json") is None


WORKER = """
import sys, json
from pathlib import Path
from callback_sdk import JobResult, ResultsWriter
from callback_sdk.targets import azure, azure_blocks
azure.SINGLE_BLOB = azure_blocks.BLOCK_SIZE = 64 * 1024
with ResultsWriter() as writer:
    writer.write(JobResult(job_id="1", success=True, results=Path(sys.argv[1])), sys.stdin.readline().strip())
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_writer_killed_at_any_request_leaves_no_partial_blob(
    azure: Azurite, proxy: FaultyProxy, tmp_path: Path, moment: str
) -> None:
    """Before and after each block and the list: the blob is whole or isn't there, and the next process completes it."""
    file = tmp_path / "results.json"
    file.write_text(json.dumps("r" * 3 * BLOCK))
    there, whole = through(azure, proxy), set[str]()
    for step in range(6):
        name, first = f"killed/{moment}-{step}.json", len(proxy.requests)
        process = start(file, there.sign(name))

        def kill(number: int, process: subprocess.Popen[str] = process, at: int = first + step) -> None:
            if number == at:
                os.kill(process.pid, signal.SIGKILL)
                process.wait(60)

        proxy.choose = lambda method, path, number, kill=kill: kill(number) if moment == "before" else None
        proxy.after = kill if moment == "after" else lambda number: None
        process.wait(120)
        found = azure.read(name)
        if found is not None:
            whole.add(hashlib.sha256(found).hexdigest())
        proxy.choose, proxy.after = lambda *_: None, lambda number: None
        with start(file, there.sign(name)) as again:
            assert again.wait(120) == 0
        whole.add(hashlib.sha256(azure.read(name) or b"").hexdigest())
        assert uncommitted(azure, name) == 0
    assert len(whole) == 1


def start(file: Path, url: str) -> subprocess.Popen[str]:
    """Start a process that writes results from a file."""
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(file)], stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(f"{url}\n")
    process.stdin.close()
    return process


def test_outbox_delivers_in_blocks(
    azure: Azurite, proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was stored after a failure is sent whole by a later attempt."""
    monkeypatch.setattr(multipart, "MAX_REQUEST_ATTEMPTS", 1)
    proxy.choose = lambda method, path, number: Failure.ERROR
    url = through(azure, proxy).sign("outbox.json")
    with ResultsWriter(timeout=0) as writer, Outbox(tmp_path / "outbox.sqlite3", writer=writer) as outbox:
        written: Any = outbox.write(result(), url)
        assert written.pending
        assert azure.read("outbox.json") is None
        proxy.choose = lambda method, path, number: None
        outbox.redeliver(*(entry.delivery_id for entry in outbox.entries()))
        outbox.run(until_empty=True)
    assert json.loads(azure.read("outbox.json") or b"")["job_id"] == "1"
