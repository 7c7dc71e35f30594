"""Results from files: validated before anything is sent, and distinguished from network errors."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import JobResult, ResultsWriter
from callback_sdk.documents.body import CHUNK_SIZE, Body, FilePart, PathPart
from callback_sdk.documents.document import document, encode_results
from callback_sdk.documents.result_files import _check_json, gzip_body
from callback_sdk.errors import CallbackSDKError, DeliveryError, EncodingError
from callback_sdk.testing import WebhookReceiver
from tests.rawserver import RawServer, answer, read_request
from tests.signedurls import v4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file that holds results."""
    path = tmp_path / "results.json"
    path.write_bytes(b'{"predictions":[1,2]}')
    return path


@pytest.fixture
def no_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all directories for temporary files unusable, as in a container with a read-only root."""
    monkeypatch.setattr(tempfile, "tempdir", "/proc/no-such-folder")


def made(results: Any) -> bytes:
    with ExitStack() as stack:
        body, _ = encode_results(results, stack)
        return document(JobResult(job_id="1", success=True), {}, body).read()


class Pipe(io.RawIOBase):
    """A body that can't seek, such as an HTTP response.

    Args:
        data: What is read from it.
        error: Raised instead of the end.
    """

    def __init__(self, data: bytes, error: Exception | None = None) -> None:
        self._data = io.BytesIO(data)
        self._error = error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._data.readinto(buffer)
        if not count and len(buffer) and self._error is not None:
            raise self._error
        return count


class Stream:
    """The least that a file object of another library has."""

    def __init__(self, data: bytes) -> None:
        self.read = io.BytesIO(data).read


@pytest.mark.parametrize("kind", ["path", "file", "rest of a file", "bytes", "pipe", "stream"])
def test_file_of_results_is_streamed_into_the_document(path: Path, tmp_path: Path, kind: str) -> None:
    """A path, an open file from where it stands, and a stream that can't seek all do."""
    skipped = tmp_path / "skipped.json"
    skipped.write_bytes(b"head" + path.read_bytes())
    with path.open("rb") as file, skipped.open("rb") as rest:
        rest.seek(4)
        results = {
            "path": path,
            "file": file,
            "rest of a file": rest,
            "bytes": io.BytesIO(path.read_bytes()),
            "pipe": Pipe(path.read_bytes()),
            "stream": Stream(path.read_bytes()),
        }
        assert json.loads(made(results[kind]))["results"] == {"predictions": [1, 2]}


@pytest.mark.parametrize(
    "content",
    [
        *(b"{}", b"[]", b"0", b"-1.5e+3", b'"x"', b"null", b" \n[1, 2]\r\n\t", b'{"a": {"b": [true, false, null]}}'),
        *(b"[123456789012345678901234567890]", b"[1e400]", '"\u00e9\U0001f600"'.encode(), rb'"\ud800\u00e9"'),
        b"[" * 10_000 + b"]" * 10_000,
    ],
)
def test_valid_json_is_sent_unchanged(content: bytes) -> None:
    """Byte for byte, with all numbers, escapes and depths."""
    assert content in made(io.BytesIO(content))


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"  \n ", b"PAR1\x00", b"[1,2", b'{"a":1', b'{"a":1}\n{"a":2}\n', b'{"a":1,}', b"[1,]", b"[1 2]"),
        *(b'{"life": NaN}', b"[Infinity]", b"[-Infinity]", b"nul", b"[01]", b"[1.]", b"[.5]", b"[+1]", b"[0x1]"),
        *(b"'a'", b'"a\nb"', rb'"\x41"', b'"a', b"/* x */ 1", b"{a: 1}", b'["\xff"]', b'["\xed\xa0\x80"]', b"[1]\x00"),
        *(b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"{}" + b"x" * CHUNK_SIZE, b'"' + b"x" * 2 * CHUNK_SIZE, b"]"),
        *(
            b"[1,\f2]",
            b"\v[1]",
            b"[1]\f",
            b"[1\v]",
            b'{"a"\f:1}',
            b'"a\fb"',
            b'[1]"',
            b'{}"]',
            b'1"',
            b'[1]"\\',
            b"[1]tr",
        ),
        b"[" + b"1" * 5_000 + b"]",
        b"[" * 10_000 + b"]" * 9_999,
    ],
)
@pytest.mark.parametrize("as_path", [True, False])
def test_file_that_is_not_json_is_an_error_that_names_it(tmp_path: Path, content: bytes, *, as_path: bool) -> None:
    """No receiver could parse the document, so nothing is sent; the text quotes nothing of the results."""
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with path.open("rb") as file, pytest.raises(EncodingError, match=r"results\.json .* JSON document") as caught:
        made(path if as_path else file)
    assert "xxxx" not in str(caught.value)


class Forgetful(io.BytesIO):
    """A file with reads that look methods up each time, so that they fail while an exception is pending."""

    name = "results.json"

    def read(self, size: int | None = -1) -> bytes:
        sys._clear_type_cache()
        return super().read(size)


@pytest.mark.parametrize("content", [b"[%b]", b"%b", b'{"a": %b, "b": [1, {"c": null}]}', b'{"a": %b%%b}'])
def test_integer_with_too_many_digits_is_an_error_of_the_document(content: bytes) -> None:
    """ijson continues with a pending exception, which breaks lookups outside the type cache."""
    with pytest.raises(EncodingError, match="holds no valid JSON document"):
        made(Forgetful((content % (b"1" * 5_000)).replace(b"%b", b" " * 2 * CHUNK_SIZE)))


def test_nothing_passes_that_python_could_not_parse() -> None:
    """With any bytes inserted into, removed from or appended to a valid document."""
    numbers = random.Random(1)
    pieces = [bytes([number]) for number in range(256)]
    pieces += [
        b"\xef\xbb\xbf",
        b"//x\n",
        b"/**/",
        b"NaN",
        b"-Infinity",
        b"\\u",
        b"\xc0\x80",
        b"\xf4\x90\x80\x80",
        b"\xc2\xa0",
    ]
    passed = 0
    for _ in range(3_000):
        content = bytearray(rb'{"a": [1, -2.5e+3, true, null, "x\u00e9\n\ud83d\ude00"], "b": {}} ')
        for _ in range(numbers.randint(1, 2)):
            place = numbers.randint(0, len(content))
            content[place : place + numbers.choice([0, 0, 1, 3])] = numbers.choice([*pieces, b"", b"", b""])
        try:
            _check_json(Body(bytes(content)), "the file")
        except EncodingError:
            continue
        json.loads(content.decode(), parse_constant=pytest.fail)
        passed += 1
    assert passed > 50


def test_unclosed_file_is_an_error(tmp_path: Path) -> None:
    """`json.dump` without closing the file leaves its end in memory."""
    path = tmp_path / "results.json"
    with path.open("w") as file:
        json.dump(list(range(10_000)), file)
        with pytest.raises(EncodingError, match="premature EOF"):
            made(path)
    assert json.loads(made(path))["results"][-1] == 9_999


@pytest.mark.parametrize("writer_at_the_other_end", [True, False])
def test_named_pipe_is_an_error_at_once(tmp_path: Path, *, writer_at_the_other_end: bool) -> None:
    """Opening it would wait for a writer without a timeout; an open file object of a pipe is accepted."""
    path = tmp_path / "pipe.json"
    os.mkfifo(path)
    if not writer_at_the_other_end:
        with pytest.raises(EncodingError, match=r"pipe\.json is not a regular file.*open the pipe"):
            made(path)
        return
    thread = threading.Thread(target=path.write_bytes, args=(b'{"a": 1}',))
    thread.start()
    with path.open("rb") as file:
        assert json.loads(made(file))["results"] == {"a": 1}
    thread.join()


def test_folder_is_an_error(tmp_path: Path) -> None:
    """As any path that is not a file's."""
    with pytest.raises(EncodingError, match=f"{tmp_path} is not a regular file"):
        made(tmp_path)


@pytest.mark.parametrize("name", ["gone.json", "a\0b", "results.json/below", "x" * 300])
def test_invalid_path_is_an_error_that_names_it(path: Path, name: str) -> None:
    """For all errors of the system."""
    with pytest.raises(EncodingError, match="can't be read"):
        made(path.parent / name)


def test_file_that_cannot_be_read_is_an_error(path: Path) -> None:
    """Closed, open as text, open for writing only, or broken in the middle."""
    closed = path.open("rb")
    closed.close()
    with path.open() as text, path.open("ab") as appending:
        for file, said in (
            (closed, "is closed"),
            (text, "binary mode"),
            (appending, "can't be read"),
            (Pipe(b"{", ConnectionResetError(104, "https://s3/?X-Amz-Signature=MARKER")), "Connection reset"),
            (Pipe(b"{", RuntimeError("https://s3/?X-Amz-Signature=MARKER")), "RuntimeError"),
        ):
            with pytest.raises(EncodingError, match=said) as caught:
                made(file)
            assert "MARKER" not in str(caught.value)


@pytest.mark.parametrize("how", ["longer", "same length", "replaced", "removed"])
def test_file_that_changes_is_not_sent(path: Path, how: str) -> None:
    """Half an old and half a new result would be worse than none."""
    with ExitStack() as stack:
        body, _ = encode_results(path, stack)
        if how == "longer":
            path.write_bytes(b'{"predictions":[1,2,3]}')
        elif how == "same length":
            path.write_bytes(b'{"predictions":[3,4]}')
            os.utime(path, ns=(0, 0))
        else:
            path.rename(path.with_name("old.json"))
            if how == "replaced":
                path.write_bytes(b'{"predictions":[3,4]}')
        with pytest.raises(EncodingError, match=r"results\.json (was changed|can't be read: No such file)"):
            body.read()


@pytest.mark.parametrize("kind", ["path", "file"])
def test_file_that_changes_while_it_is_read_is_not_sent_to_its_end(tmp_path: Path, kind: str) -> None:
    """The last chunk is held back until the file is known to be the same, so no receiver has a whole body."""
    path = tmp_path / "results.json"
    path.write_bytes(b"1" * 3 * CHUNK_SIZE)
    with path.open("rb") as file:
        body = Body(PathPart(path) if kind == "path" else FilePart(file))
        chunks = body.chunks()
        got = len(next(chunks))
        with path.open("r+b") as other:
            other.write(b"2")
        os.utime(path, ns=(0, 0))
        with pytest.raises(EncodingError, match="was changed"):
            got += sum(map(len, chunks))
    assert got < body.size


def test_file_that_is_removed_between_attempts_is_not_called_a_network_error(path: Path) -> None:
    """No further attempt is made."""

    requests = []

    def script(connection: Any, number: int) -> None:
        if head := read_request(connection)[0]:
            requests.append(head)
            path.unlink()
            connection.sendall(answer("503 Busy"))

    with (
        RawServer(script) as server,
        ResultsWriter() as writer,
        pytest.raises(EncodingError, match=r"results\.json can't be read: No such file"),
    ):
        writer.write(JobResult(job_id="1", success=True, results=path), server.url)
    assert len(requests) == 1


def test_writer_sends_nothing_of_a_file_that_is_not_json(tmp_path: Path, webhook: WebhookReceiver) -> None:
    """The file is validated before the first target."""
    path = tmp_path / "results.json"
    path.write_bytes(b'{"life": [1, 2')
    with ResultsWriter() as writer, pytest.raises(EncodingError):
        writer.write(JobResult(job_id="1", success=True, results=path), [webhook.url, webhook.url])
    assert not webhook.requests


def test_large_file_is_checked_in_constant_memory(tmp_path: Path) -> None:
    """Peaks don't grow with the file."""
    peaks = []
    for size in (1, 8):
        path = tmp_path / f"{size}.json"
        path.write_text(json.dumps(["x" * 1000] * 2000 * size))
        tracemalloc.start()
        with ExitStack() as stack:
            encode_results(path, stack)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0] + CHUNK_SIZE


def test_same_document_is_compressed_to_the_same_bytes() -> None:
    """Even if it is larger than the buffer in memory."""
    with ExitStack() as stack:
        one, two = (gzip_body(Body(b"[1]" * 4_000_000), stack) for _ in range(2))
        assert one.sha256 == two.sha256
        assert gzip.decompress(one.read()) == b"[1]" * 4_000_000


def _random(size: int) -> Iterator[bytes]:
    while size > 0:
        yield os.urandom(CHUNK_SIZE)
        size -= CHUNK_SIZE


def test_missing_temporary_folder_is_an_error_that_names_the_variable(no_temporary_files: None) -> None:
    """Both where a large document is compressed and where a stream is copied."""
    large = Body(*_random(10_000_000))
    with ExitStack() as stack, pytest.raises(EncodingError, match=r"compress the document.*TMPDIR"):
        gzip_body(large, stack)
    with pytest.raises(EncodingError, match=r"copy the file of results.*TMPDIR"):
        made(Pipe(b"[" + b"1," * 5_000_000 + b"1]"))


def test_small_documents_need_no_temporary_folder(no_temporary_files: None) -> None:
    """They are kept in memory."""
    assert json.loads(made(Pipe(b"[1]")))["results"] == [1]
    with ExitStack() as stack:
        assert gzip.decompress(gzip_body(Body(b"[1]"), stack).read()) == b"[1]"


def test_target_without_room_for_its_compression_costs_no_other_its_receipt(
    no_temporary_files: None, webhook: WebhookReceiver
) -> None:
    """The webhook's document isn't compressed."""
    put = f"http://127.0.0.1:9/b/k?{v4(date='29990101T000000Z')}"
    noise = os.urandom(9_000_000).hex()
    with (
        ResultsWriter(compress="gzip", max_webhook_bytes=10**9) as writer,
        pytest.raises(CallbackSDKError, match="TMPDIR") as caught,
    ):
        writer.write(JobResult(job_id="1", success=True, results=noise), [webhook.url, put])
    assert not isinstance(caught.value, DeliveryError)
    assert [receipt.target_kind for receipt in caught.value.receipts] == ["webhook"]
