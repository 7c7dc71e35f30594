"""callback_sdk.service.blobs"""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from callback_sdk.service.blobs import Blobs, read_progress, write_whole


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """A write that breaks off leaves the old file and no other."""

    def parts():
        yield b"new"
        raise OSError("disk full")

    path = tmp_path / "f"
    write_whole(path, [b"old"])
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, parts())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_received_file_becomes_the_features(tmp_path: Path) -> None:
    """An upload is kept under its task's id and gone with the run."""
    blobs = Blobs(tmp_path)
    blobs.keep_features(blobs.receive(io.BytesIO(b"data")), "1")
    assert blobs.features("1").read_bytes() == b"data"
    blobs.forget_run("1")
    blobs.forget_run("1")
    assert not blobs.features("1").exists()


def test_cleaning_keeps_what_is_wanted(tmp_path: Path) -> None:
    """After a kill, files of ended tasks and half uploads go, and those of living tasks stay."""
    blobs = Blobs(tmp_path)
    blobs.receive(io.BytesIO(b"half"))
    for job_id in ("1", "2"):
        blobs.features(job_id).write_bytes(b"x")
        blobs.progress(job_id).write_bytes(b"x")
        blobs.results(job_id, 1).write_bytes(b"x")
    blobs.results("1", 1).with_name(".1.1.json.abc").write_bytes(b"half")
    blobs.clean(["1"])
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"features/1", "progress/1.json", "results/1.1.json", "results/2.1.json"}


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]"])
def test_progress_that_can_not_be_read_is_none(tmp_path: Path, content: bytes | None) -> None:
    """No file, an empty one and a broken one are no progress, and no error."""
    if content is not None:
        (tmp_path / "p").write_bytes(content)
    assert read_progress(tmp_path / "p") is None
