"""Only what a program has written itself is delivered as its results."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from callback_sdk.program.files import ResultsFile, find_outputs


def test_a_file_of_an_earlier_job_is_not_this_ones(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text('{"life": 7.5}')
    results = ResultsFile(path)
    assert not results.is_written
    path.write_text('{"life": 7.5}')
    os.utime(path, ns=(1, 1))
    assert results.is_written


def test_a_temporary_file_is_removed_with_its_directory() -> None:
    results = ResultsFile(None)
    assert not results.is_written
    results.path.write_text("[]")
    assert results.is_written
    results.remove()
    assert not results.path.parent.exists()


def test_outputs_are_named_by_their_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    for path in (Path("model/a.bin"), Path("model/deep/b.bin"), elsewhere / "c.csv"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    files, missing = find_outputs(["model/**/*.bin", f"{elsewhere}/*.csv", "./model/a.bin", "*.png"])
    assert sorted(files) == ["c.csv", "model/a.bin", "model/deep/b.bin"]
    assert missing == ["*.png"]
