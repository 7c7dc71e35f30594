"""Only what a program has written itself is delivered as its results."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from callback_sdk.errors import OutputError
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


def test_a_file_whose_temporary_directory_was_removed_is_missing() -> None:
    """Nobody can know whether it had results."""
    results = ResultsFile(None)
    assert not results.is_missing
    results.remove()
    assert results.is_missing


def test_a_link_that_leads_nowhere_is_written(tmp_path: Path) -> None:
    """The writer rejects it, where a missing file would be a success without results."""
    results = ResultsFile(None)
    results.path.symlink_to(tmp_path / "nowhere")
    assert results.is_written
    results.remove()


def test_outputs_are_named_by_their_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    for path in (Path("model/a.bin"), Path("model/deep/b.bin"), elsewhere / "c.csv"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    files, missing = find_outputs(["model/**/*.bin", f"{elsewhere}/*.csv", "./model/a.bin", "*.png"])
    assert sorted(files) == ["c.csv", "model/a.bin", "model/deep/b.bin"]
    assert missing == ["*.png"]


def test_two_files_of_the_same_name_are_an_error(tmp_path: Path) -> None:
    """One of them would be lost."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.bin").write_text(folder)
    with pytest.raises(OutputError, match="would both be named"):
        find_outputs([f"{tmp_path}/*/model.bin"])


def test_a_file_that_two_patterns_match_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_text("x")
    files, _ = find_outputs([f"{tmp_path}/*.bin", f"{tmp_path}/../{tmp_path.name}/model.bin"])
    assert list(files) == ["model.bin"]


def test_the_working_directory_itself_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer rejects the name with an error of its own."""
    monkeypatch.chdir(tmp_path)
    assert find_outputs(["./"]) == ({".": Path()}, [])
