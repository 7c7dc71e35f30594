"""From values to output files."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import socket
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import define

from callback_sdk.errors import EncodingError, OutputError
from callback_sdk.outputs import Output, files, output_files
from tests.growth import assert_linear


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "new"
    made.mkdir()
    return made


def only(outputs: dict[Any, Any], folder: Path) -> Output:
    (output,) = output_files(outputs, folder)
    return output


@pytest.mark.parametrize(
    "value", [b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(b"a-b-c")[::2], io.BytesIO(b"abc")]
)
def test_bytes_are_written(value: Any, folder: Path) -> None:
    """Bytes of any kind, and a binary file object, become a private file with the same bytes."""
    output = only({"model.bin": value}, folder)
    assert output.body.read() == output.path.read_bytes() == b"abc"
    assert (output.name, output.size, output.media_type) == ("model.bin", 3, "application/octet-stream")
    assert output.sha256 == hashlib.sha256(b"abc").hexdigest()
    assert stat.S_IMODE(output.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["B", "d"])
def test_memoryviews_of_numbers_are_their_bytes(kind: str, folder: Path) -> None:
    """A view of an array is written as the bytes of its items."""
    array = np.arange(12, dtype=kind).reshape(3, 4)
    assert only({"a.bin": memoryview(array)}, folder).body.read() == array.tobytes()


def test_paths_stay_where_they_are(tmp_path: Path, folder: Path) -> None:
    """The file of a path is not copied; a link that is given itself is followed."""
    (tmp_path / "model").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("model")
    found = output_files({"a": tmp_path / "model", "b": tmp_path / "link"}, folder)
    assert [output.body.read() for output in found] == [b"abc", b"abc"]
    assert found[0].path == tmp_path / "model"
    assert not list(folder.iterdir())


def test_values_of_json_files(folder: Path) -> None:
    """A value with a name that ends with .json is encoded like results."""
    value = {"a": np.float64(0.1), "b": [1, None]}
    assert json.loads(only({"x.JSON": value}, folder).body.read()) == {"a": 0.1, "b": [1, None]}


def test_values_that_json_cannot_represent(folder: Path) -> None:
    """The error names the output and the path of the value."""
    with pytest.raises(EncodingError, match=r"outputs\['x.json'\].a"):
        output_files({"x.json": {"a": object()}}, folder)


@pytest.mark.parametrize("name", ["report.txt", "x.json", "model.bin"])
def test_strings_are_neither_paths_nor_texts(name: str, folder: Path) -> None:
    """A string is rejected: it may be a path or a text, and the error says how to give either."""
    with pytest.raises(OutputError) as caught:
        output_files({name: "/tmp/report.txt"}, folder)
    assert "pathlib.Path" in caught.value.hint
    assert "encode()" in caught.value.hint


@pytest.mark.parametrize("value", [None, 1, {"a": 1}, [1], object(), np.zeros(3)])
def test_other_values_are_rejected(value: Any, folder: Path) -> None:
    """A value that isn't a file raises an error with what can be given, and its name."""
    with pytest.raises(OutputError) as caught:
        output_files({"model.bin": value}, folder)
    assert caught.value.name == "model.bin"
    assert "pathlib.Path" in caught.value.hint
    assert not list(folder.iterdir())


def test_directories_become_one_output_for_each_file(tmp_path: Path, folder: Path) -> None:
    """A directory is taken with hidden files, in sorted order; an empty one has no outputs."""
    root = tmp_path / "run"
    for name in ("b.txt", "a/c.txt", ".hidden", "a/.also"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "empty").mkdir()
    found = output_files({"out": root}, folder)
    assert [output.name for output in found] == ["out/.hidden", "out/a/.also", "out/a/c.txt", "out/b.txt"]
    assert found[2].body.read() == b"a/c.txt"
    assert output_files({"nothing": root / "empty"}, folder) == ()


def test_links_within_a_directory_are_followed(tmp_path: Path, folder: Path) -> None:
    """Links to files and directories within the directory are taken as what they lead to."""
    (tmp_path / "run" / "step-3").mkdir(parents=True)
    (tmp_path / "run" / "step-3" / "model").write_bytes(b"3")
    (tmp_path / "run" / "latest").symlink_to("step-3")
    (tmp_path / "run" / "best").symlink_to("step-3/model")
    found = output_files({"run": tmp_path / "run"}, folder)
    assert {output.name: output.body.read() for output in found} == {
        "run/best": b"3",
        "run/latest/model": b"3",
        "run/step-3/model": b"3",
    }


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("/etc/passwd", "leads out of the directory"),
        ("../secret", "leads out of the directory"),
        ("..", "leads out of the directory"),
        (".", "link to a directory that it is in"),
        ("link", "can't be found"),
        ("missing", "can't be found"),
    ],
)
def test_other_links_are_rejected(target: str, problem: str, tmp_path: Path, folder: Path) -> None:
    """A link out of the directory, in a circle or to nowhere is an error, and its file is not read."""
    (tmp_path / "run").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "run" / "link").symlink_to(target)
    with pytest.raises(OutputError, match=problem) as caught:
        output_files({"run": tmp_path / "run"}, folder)
    assert caught.value.name == "run/link"


def test_links_that_multiply_are_bounded(tmp_path: Path, folder: Path) -> None:
    """Three links in each of 14 directories are five million paths, without a cycle and without a file."""
    for number in range(14):
        (tmp_path / "run" / f"d{number}").mkdir(parents=True)
    for number in range(13):
        for link in "abc":
            (tmp_path / "run" / f"d{number}" / link).symlink_to(f"../d{number + 1}")
    with pytest.raises(OutputError, match="more than 20000 files and directories") as caught:
        output_files({"run": tmp_path / "run"}, folder)
    assert caught.value.name == "run"


def test_links_that_deepen_are_bounded(tmp_path: Path, folder: Path) -> None:
    """A chain of links would end at the interpreter's recursion limit."""
    (tmp_path / "run").mkdir()
    for number in range(1100):
        (tmp_path / "run" / f"{number}").mkdir()
        (tmp_path / "run" / f"{number}" / "x").symlink_to(f"../{number + 1}")
    (tmp_path / "run" / "1100").mkdir()
    with pytest.raises(OutputError, match="more than 256 levels"):
        output_files({"run": tmp_path / "run"}, folder)


def test_special_files_are_rejected(tmp_path: Path, folder: Path) -> None:
    """A pipe or a socket raises an error and doesn't block, in a directory and by itself."""
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / "pipe")
    with pytest.raises(OutputError, match="neither a file nor a directory"):
        output_files({"run": tmp_path / "run"}, folder)
    with pytest.raises(OutputError, match="not a regular file"):
        output_files({"pipe": tmp_path / "run" / "pipe"}, folder)
    with pytest.raises(OutputError, match="not a regular file"):
        output_files({"null": Path(os.devnull)}, folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(OutputError):
            output_files({"s": tmp_path / "s"}, folder)


def test_hostile_names_in_a_directory_are_rejected(tmp_path: Path, folder: Path) -> None:
    """A name that Linux allows and other systems don't raises an error with the name."""
    for name in ("a\nb", "a\\b", "nul", "x ", b"\xff".decode("utf-8", "surrogateescape")):
        root = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        root.mkdir()
        (root / name).write_text("")
        with pytest.raises(OutputError) as caught:
            output_files({"run": root}, folder)
        assert caught.value.name == f"run/{name}"
        assert str(caught.value).isprintable()


def test_missing_files_are_named(tmp_path: Path, folder: Path) -> None:
    """A path without a file, and with a NUL, raises the typed error."""
    with pytest.raises(OutputError, match=r"output file model\.bin can't be read: No such file"):
        output_files({"model.bin": tmp_path / "missing"}, folder)
    with pytest.raises(OutputError):
        output_files({"model.bin": Path("a\0b")}, folder)


def test_collisions_between_outputs_and_directories(tmp_path: Path, folder: Path) -> None:
    """A file of a directory that has the name of another output is rejected."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "A").write_text("")
    with pytest.raises(OutputError, match="name of a directory"):
        output_files({"run": tmp_path / "run", "run/a": b""}, folder)
    with pytest.raises(OutputError, match="without upper and lower case"):
        output_files({"out": tmp_path / "run", "OUT": b""}, folder)


def test_number_of_files_is_limited(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with more files than a document lists is rejected."""
    monkeypatch.setattr(files, "MAX_OUTPUTS", 3)
    for number in range(4):
        (tmp_path / f"{number}").write_text("")
    with pytest.raises(OutputError, match="more than 3 output files"):
        output_files({"run": tmp_path}, folder)


@define
class Failing:
    """A file object that fails as HTTP libraries do."""

    def read(self, size: int = -1) -> bytes:
        raise RuntimeError("https://store.example/x?X-Amz-Signature=secret")


def test_file_objects_that_fail(folder: Path, tmp_path: Path) -> None:
    """A closed, textual or failing file object raises an error that doesn't quote the cause, and leaves no file."""
    closed = io.BytesIO(b"")
    closed.close()
    at_end = io.BytesIO(b"abc")
    at_end.seek(0, os.SEEK_END)
    for file, problem in (
        (closed, "is closed"),
        (io.StringIO("abc"), "open as text"),
        (Failing(), "can't be read: RuntimeError"),
        (at_end, "at its end"),
    ):
        with pytest.raises(OutputError, match=problem) as caught:
            output_files({"x": file}, folder)
        assert "Signature" not in str(caught.value)
    assert not list(folder.iterdir())


def test_streams_are_read_from_their_position(folder: Path) -> None:
    """A file object is read from its position to its end, also one that isn't seekable; an empty one is allowed."""
    file = io.BytesIO(b"head-body")
    file.seek(5)
    assert only({"x": file}, folder).body.read() == b"body"
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as sink:
        sink.write(b"piped")
    with os.fdopen(reader, "rb") as source:
        assert only({"y": source}, folder).body.read() == b"piped"
    assert only({"z": io.BytesIO()}, folder).size == 0


def test_changed_files_are_noticed(tmp_path: Path, folder: Path) -> None:
    """A file that is changed after its digest was computed is never delivered, and one of equal size neither."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"abc")
    output = only({"model.bin": path}, folder)
    path.write_bytes(b"xyz")
    os.utime(path, ns=(1, 1))
    with pytest.raises(EncodingError, match=r"output file model\.bin was changed"):
        output.body.read()


def test_a_file_without_a_true_size_is_rejected(folder: Path) -> None:
    """Those of /proc report 0, and would be delivered empty."""
    with pytest.raises(OutputError, match=r"output file status\.txt has more bytes than its size"):
        output_files({"status.txt": Path("/proc/self/status")}, folder)


def test_stored_outputs_are_compared_with_their_digest(tmp_path: Path) -> None:
    """A stored file with another content than it had is an error."""
    path = tmp_path / "stored"
    path.write_bytes(b"abc")
    known = Output.of("model.bin", path)
    facts = {"name": "model.bin", "path": path, "size": 3, "sha256": known.sha256, "media_type": "a/b"}
    Output.from_stored(**facts).verify()
    assert Output.from_stored(**facts).body.read() == b"abc"
    path.write_bytes(b"xyz")
    with pytest.raises(OutputError, match="has changed since it was stored"):
        Output.from_stored(**facts).verify()
    path.unlink()
    with pytest.raises(OutputError, match="can't be read"):
        Output.from_stored(**facts)


def test_entry_of_the_document(tmp_path: Path) -> None:
    """The document's entry has URL, size, digest and media type."""
    (tmp_path / "a").write_bytes(b"abc")
    entry = Output.of("a.csv", tmp_path / "a").entry("https://store.example/a.csv")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert entry == {"url": "https://store.example/a.csv", "size": 3, "sha256": digest, "media_type": "text/csv"}


def test_full_disks_leave_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk raises the typed error with advice, and leaves no part of a file."""

    class Full(io.FileIO):
        def writelines(self, lines: Any) -> None:
            super().write(b"part")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def create(path: Path) -> Full:
        return Full(path, "wb")

    monkeypatch.setattr(files, "create_file", create)
    with pytest.raises(OutputError, match="No space left") as caught:
        output_files({"x": b"abc"}, folder)
    assert "Free space" in caught.value.hint
    assert not list(folder.iterdir())


def test_time_grows_linearly(tmp_path: Path, folder: Path) -> None:
    """A directory takes time linear in the number of its files."""
    for count in (32, 512):
        (tmp_path / str(count)).mkdir()
        for number in range(count):
            (tmp_path / str(count) / f"{number}").write_text("")
    assert_linear(lambda root: output_files({"run": root}, folder), tmp_path / "32", tmp_path / "512", ratio=16)


def test_threads_can_use_one_folder_each(tmp_path: Path) -> None:
    """Values of several jobs can be written at the same time."""
    found: list[bytes] = []

    def work(number: int) -> None:
        mine = tmp_path / str(number)
        mine.mkdir()
        found.append(only({"x": b"%d" % number}, mine).body.read())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [b"0", b"1", b"2", b"3"]


def test_missing_file_is_an_error_with_the_path_and_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path may begin elsewhere than its author thinks."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=r"x\.bin can't be read") as caught:
        output_files({"x.bin": Path("nope.bin")}, tmp_path)
    assert "nope.bin" in str(caught.value)
    assert f"the working directory is {tmp_path}." in str(caught.value)
