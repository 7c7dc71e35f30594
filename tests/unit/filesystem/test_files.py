"""Private and durable files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from callback_sdk.filesystem.files import (
    create_directory,
    create_file,
    move,
    write_new,
    write_once,
    write_whole,
)

WRITES = [write_new, write_once, write_whole]


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o277])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Set the permissions that are taken from new files."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the names of files and directories in the order in which they are synced."""
    names: list[str] = []
    sync = os.fsync

    def record(descriptor: int) -> None:
        names.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    return names


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("write", WRITES)
def test_file_is_written_completely_and_only_for_its_owner(tmp_path: Path, write: object) -> None:
    """Under any umask, and no other file remains."""
    write(tmp_path / "f", [b"a", b"b"])  # type: ignore[operator]
    assert (tmp_path / "f").read_bytes() == b"ab"
    assert mode(tmp_path / "f") == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "f"]


@pytest.mark.parametrize("write", WRITES)
def test_error_while_a_file_is_written_leaves_no_file(tmp_path: Path, write: object) -> None:
    """Neither the new file nor a temporary one."""

    def parts() -> Iterator[bytes]:
        yield b"new"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write(tmp_path / "f", parts())  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


def test_error_while_a_file_is_replaced_leaves_the_old_one(tmp_path: Path) -> None:
    """Readers see the old content or all of the new one."""

    def parts() -> Iterator[bytes]:
        yield b"new"
        raise OSError("disk full")

    write_whole(tmp_path / "f", [b"old"])
    with pytest.raises(OSError, match="disk full"):
        write_whole(tmp_path / "f", parts())
    assert (tmp_path / "f").read_bytes() == b"old"
    write_whole(tmp_path / "f", [b"new"])
    assert (tmp_path / "f").read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [tmp_path / "f"]


def test_existing_file_is_kept_where_it_must_be_new(tmp_path: Path) -> None:
    """`write_new` raises an error, and `write_once` returns: the other process's content counts."""
    (tmp_path / "f").write_bytes(b"first")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "f", [b"second"])
    write_once(tmp_path / "f", [b"second"])
    assert (tmp_path / "f").read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [tmp_path / "f"]


def test_directory_is_synced_after_the_file(tmp_path: Path, synced: list[str]) -> None:
    """fsync(2) of a file doesn't include its name in the directory; a rename before that could lose both files."""
    write_new(tmp_path / "new", [b"x"])
    assert synced == ["new", tmp_path.name]
    synced.clear()
    for write in (write_whole, write_once):
        write(tmp_path / write.__name__, [b"x"])
        assert [name.rpartition(".")[0] for name in synced[:1]] == [f".{write.__name__}"]
        assert synced[1:] == [tmp_path.name]
        synced.clear()
    move(tmp_path / "new", tmp_path / "moved")
    assert synced == [tmp_path.name]
    synced.clear()
    write_whole(tmp_path / "progress", [b"x"], durable=False)
    assert synced == []


@pytest.mark.usefixtures("umask")
def test_directory_is_created_only_for_its_owner(tmp_path: Path, synced: list[str]) -> None:
    """With its parents where asked for, each synced in its own parent; an existing one keeps its mode."""
    with pytest.raises(FileNotFoundError):
        create_directory(tmp_path / "a" / "b")
    create_directory(tmp_path / "a" / "b", parents=True)
    assert (mode(tmp_path / "a"), mode(tmp_path / "a" / "b")) == (0o700, 0o700)
    assert synced == [tmp_path.name, "a"]
    (tmp_path / "a").chmod(0o750)
    create_directory(tmp_path / "a")
    assert mode(tmp_path / "a") == 0o750


def test_file_in_place_of_a_directory_is_an_error(tmp_path: Path) -> None:
    """It is not taken for one."""
    create_file(tmp_path / "f").close()
    with pytest.raises(FileExistsError):
        create_directory(tmp_path / "f")
