"""callback_sdk.service.files"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from callback_sdk.errors import CallbackSDKError
from callback_sdk.filesystem.files import write_whole
from callback_sdk.service.algorithms.context import JobContext
from callback_sdk.service.blobs.folder import DirectoryStorage, _copy
from callback_sdk.service.files import Scratch, check_writable, read_progress, remove_tree
from callback_sdk.service.work import output_capture


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]"])
def test_unreadable_progress_is_none(tmp_path: Path, content: bytes | None) -> None:
    """A missing, an empty and a malformed file are no error."""
    if content is not None:
        (tmp_path / "p").write_bytes(content)
    assert read_progress(tmp_path / "p") is None


def test_an_upload_is_received_whole(tmp_path: Path) -> None:
    """Its bytes are in a file of the scratch directory, which is removed when that is closed."""
    scratch = Scratch(tmp_path / "scratch")
    path = scratch.receive(io.BytesIO(b"data"))
    assert path.read_bytes() == b"data"
    scratch.close()
    assert not list((tmp_path / "scratch").iterdir())


def test_directories_of_dead_processes_are_removed(tmp_path: Path) -> None:
    """At once. The directory of a running process is kept, and one that its process may be about to lock."""
    alive = Scratch(tmp_path)
    for name in ("process-dead", ".process-new", ".process-old"):
        (tmp_path / name).mkdir()
    os.utime(alive.folder, (0, 0))
    os.utime(tmp_path / ".process-old", (0, 0))
    another = Scratch(tmp_path)
    assert set(tmp_path.iterdir()) == {alive.folder, another.folder, tmp_path / ".process-new"}
    alive.close()
    another.close()


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o277])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Set the umask."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_created_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    """Directories of blobs with their parents, scratch directories, uploads, results and models, with any umask."""
    top = tmp_path / "data"
    folder, scratch = DirectoryStorage(top / "blobs"), Scratch(top / "scratch")
    write_whole(top / "whole", [b"x"])
    folder.put(scratch.receive(io.BytesIO(b"data")), "features/1")
    _copy(top / "whole", top / "blobs" / "results" / "1")
    context = JobContext(
        job_id="1",
        attempt=1,
        evaluate=False,
        report=print,
        export_new_version=True,
        model_output=scratch.folder / "new",
    )
    context.save_model(b"model")
    with output_capture.capture_output(scratch.folder / "output"):
        pass
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert found == {path: 0o700 if path.is_dir() else 0o600 for path in found}
    assert len(found) == 18


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.EFBIG, "ulimit -f"),
        (errno.ENOSPC, "Free space in this directory"),
        (errno.EDQUOT, "Free space in this directory, or raise its quota"),
        (errno.EROFS, "Check that this directory exists and can be written"),
    ],
)
def test_an_unwritable_directory_is_an_error_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    """A limit of file sizes (EFBIG) is not reported as a full disk."""

    def fail(path: Path, data: bytes) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(CallbackSDKError, match=advice) as caught:
        check_writable(tmp_path)
    assert ("Free space" in str(caught.value)) == (code in (errno.ENOSPC, errno.EDQUOT))


def test_a_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    """Its owner may have shared it."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs").chmod(0o750)
    DirectoryStorage(tmp_path / "blobs")
    assert stat.S_IMODE((tmp_path / "blobs").stat().st_mode) == 0o750


def test_directories_are_removed_with_all_content(tmp_path: Path) -> None:
    """Also where modes deny it; links are removed, and not followed. No directory has an earlier one's path."""
    scratch = Scratch(tmp_path / "scratch")
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o500)
    seen = []
    for change in ("nothing", "files", "mode", "link"):
        with scratch.directory() as folder:
            seen.append(folder)
            assert folder.is_dir()
            assert list(folder.iterdir()) == []
            assert folder.stat().st_mode & 0o777 == 0o700
            if change == "files":
                (folder / "locked").mkdir()
                (folder / "locked" / "file").touch()
                (folder / "link").symlink_to(outside)
                (folder / "locked").chmod(0)
            elif change == "mode":
                folder.chmod(0o777)
            elif change == "link":
                folder.rmdir()
                folder.symlink_to(outside)
        assert not folder.is_symlink()
        assert not folder.exists()
    assert len(set(seen)) == 4
    assert outside.stat().st_mode & 0o777 == 0o500
    scratch.close()
    assert not scratch.folder.exists()


def test_files_of_others_are_not_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody may create files in the system's temporary directory, with any name."""
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "runs-link").symlink_to(target)
    for name in ("runs-old", "another-old"):
        (tmp_path / name).mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 4711)
        Scratch(tmp_path, prefix="runs-").close()
    assert (tmp_path / "runs-old").exists()
    Scratch(tmp_path, prefix="runs-").close()
    assert not (tmp_path / "runs-old").exists()
    assert (tmp_path / "another-old").exists()
    assert target.exists()


def test_a_tree_of_any_depth_is_removed(tmp_path: Path) -> None:
    """Its paths are longer than the system allows, and it is deeper than Python recurses."""
    top = tmp_path / "tree"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("level", dir_fd=here)
        below = os.open("level", os.O_RDONLY, dir_fd=here)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.close(here)
        here = below
    os.close(here)
    remove_tree(top)
    assert not top.exists()


def test_nothing_outside_a_removed_tree_is_touched(tmp_path: Path) -> None:
    """Links are removed, and not followed; directories without permissions are removed too."""
    outside, top = tmp_path / "outside", tmp_path / "tree"
    outside.mkdir(mode=0o755)
    (outside / "kept").write_text("kept")
    (top / "closed" / "inner").mkdir(parents=True)
    (top / "link").symlink_to(outside)
    (top / "closed" / "inner" / "link").symlink_to(outside / "kept")
    (top / "closed").chmod(0)
    remove_tree(top)
    assert not top.exists()
    assert (outside / "kept").read_text() == "kept"
    assert stat.S_IMODE(outside.stat().st_mode) == 0o755
    top.symlink_to(outside)
    remove_tree(top)
    assert (outside / "kept").exists()
    assert not top.is_symlink()
