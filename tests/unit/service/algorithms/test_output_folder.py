"""callback_sdk.service.algorithms.output_folder"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from callback_sdk.errors import OutputError
from callback_sdk.service.algorithms.output_folder import OutputFolder, OutputLimits, read_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the directory of a run's output files, which doesn't exist yet."""
    return tmp_path / "outputs"


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.path.read_bytes() for file in read_files(folder)}


def test_a_run_without_output_files_has_no_directory(folder: Path) -> None:
    """Most runs have none."""
    OutputFolder(folder, OutputLimits())
    assert not folder.exists()
    assert read_files(folder) == []


def test_files_are_copied_at_the_call(folder: Path, tmp_path: Path) -> None:
    """The algorithm may change or remove them afterwards, and its temporary directory is removed with the run."""
    source = tmp_path / "model"
    source.write_bytes(b"one")
    outputs = OutputFolder(folder, OutputLimits())
    outputs.add("model.bin", source)
    outputs.add("note.txt", b"text")
    source.write_bytes(b"other")
    model, note = read_files(folder)
    assert (model.name, model.size, model.media_type) == ("model.bin", 3, "application/octet-stream")
    assert model.sha256 == hashlib.sha256(b"one").hexdigest()
    assert contents(folder) == {"model.bin": b"one", "note.txt": b"text"}
    assert note.media_type == "text/plain"
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_directory_becomes_several_files(folder: Path, tmp_path: Path) -> None:
    """Below the given name."""
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "a.txt").write_bytes(b"a")
    (tmp_path / "d" / "sub" / "b.txt").write_bytes(b"b")
    OutputFolder(folder, OutputLimits()).add("plots", tmp_path / "d")
    assert contents(folder) == {"plots/a.txt": b"a", "plots/sub/b.txt": b"b"}


def test_a_second_call_replaces_the_first(folder: Path, tmp_path: Path) -> None:
    """Also where a directory had more files; the bytes of the first call are gone."""
    for name in ("a", "b"):
        (tmp_path / "d").mkdir(exist_ok=True)
        (tmp_path / "d" / name).write_bytes(b"x")
    outputs = OutputFolder(folder, OutputLimits(max_files=2))
    outputs.add("d", tmp_path / "d")
    (tmp_path / "d" / "a").unlink()
    outputs.add("d", tmp_path / "d")
    outputs.add("n.txt", b"1")
    outputs.add("n.txt", b"22")
    assert contents(folder) == {"d/b": b"x", "n.txt": b"22"}
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "CON", "a\\b", "", "x" * 600, "a/../b", 1])
def test_a_bad_name_is_an_error_at_the_call(folder: Path, name: object) -> None:
    """The algorithm gets it, with nothing stored."""
    with pytest.raises(OutputError):
        OutputFolder(folder, OutputLimits()).add(name, b"x")
    assert read_files(folder) == []


@pytest.mark.parametrize(
    "name", [".thing.output.json", "foo..bar", ".foo/.bar", "series.subdir..._.._", "a b/ä#%&+.txt"]
)
def test_harmless_names_are_accepted(folder: Path, name: str) -> None:
    """Two dots within a segment lead nowhere (cli/cli#10007, gocd/gocd#4941)."""
    OutputFolder(folder, OutputLimits()).add(name, b"x")
    assert contents(folder) == {name: b"x"}


@pytest.mark.parametrize(("first", "second"), [("a/b", "a"), ("a", "a/b"), ("a", "A"), ("é", "É"), ("A/b", "a")])
def test_names_that_one_file_system_can_not_hold_are_an_error(folder: Path, first: str, second: str) -> None:
    """The second call fails, and the first file stays."""
    outputs = OutputFolder(folder, OutputLimits())
    outputs.add(first, b"1")
    with pytest.raises(OutputError):
        outputs.add(second, b"2")
    assert contents(folder) == {first: b"1"}


def test_a_replaced_name_is_free_again(folder: Path, tmp_path: Path) -> None:
    """A directory that no longer has a file leaves its name to others, and the files that stay keep theirs."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"x")
    outputs = OutputFolder(folder, OutputLimits())
    outputs.add("d", tmp_path / "d")
    (tmp_path / "d" / "a").rename(tmp_path / "d" / "b")
    outputs.add("d", tmp_path / "d")
    outputs.add("d/a", b"y")
    with pytest.raises(OutputError, match="same name"):
        outputs.add("d/b", b"z")
    assert contents(folder) == {"d/b": b"x", "d/a": b"y"}


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (OutputLimits(max_file_bytes=9), "CALLBACK_SDK_MAX_OUTPUT_FILE_BYTES"),
        (OutputLimits(max_files=1), "CALLBACK_SDK_MAX_OUTPUT_FILES"),
        (OutputLimits(max_bytes=11), "CALLBACK_SDK_MAX_OUTPUT_BYTES"),
    ],
)
def test_limits_are_errors_that_name_the_setting(folder: Path, tmp_path: Path, limits: OutputLimits, said: str) -> None:
    """Of a file, of the number of files, and of all bytes; what was stored before is kept."""
    outputs = OutputFolder(folder, limits)
    outputs.add("small", b"123")
    (tmp_path / "large").write_bytes(b"x" * 10)
    for value in (b"x" * 10, tmp_path / "large"):
        with pytest.raises(OutputError, match=said) as caught:
            outputs.add("large", value)
        assert caught.value.name == "large"
    assert contents(folder) == {"small": b"123"}
    assert len(list(folder.iterdir())) == 2


def test_a_replaced_file_does_not_count(folder: Path) -> None:
    """A checkpoint may be saved again and again."""
    outputs = OutputFolder(folder, OutputLimits(max_files=1, max_bytes=10))
    for _ in range(5):
        outputs.add("checkpoint", b"x" * 10)
    assert contents(folder) == {"checkpoint": b"x" * 10}


def test_a_full_disk_is_an_error_of_the_algorithm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, and what was stored before is kept."""
    outputs = OutputFolder(folder, OutputLimits())
    outputs.add("a", b"1")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputError, match="No space left"):
        outputs.add("b", b"2")
    assert contents(folder) == {"a": b"1"}


def test_a_line_that_was_cut_off_is_ignored(folder: Path) -> None:
    """The process was killed while it wrote it."""
    outputs = OutputFolder(folder, OutputLimits())
    outputs.add("a", b"1")
    whole = (folder / "journal").read_bytes()
    outputs.add("b", b"2")
    with (folder / "journal").open("r+b") as journal:
        journal.truncate(len(whole) + 20)
    assert contents(folder) == {"a": b"1"}


def test_a_journal_can_not_name_other_files(folder: Path) -> None:
    """Of this machine, which the service would store for the task's user."""
    OutputFolder(folder, OutputLimits()).add("a", b"1")
    journal = folder / "journal"
    name = next(path.name for path in folder.iterdir() if path != journal)
    journal.write_bytes(journal.read_bytes().replace(name.encode(), b"../../etc/passwd"))
    with pytest.raises(ValueError, match="journal"):
        read_files(folder)
