"""Only what a program has written itself is delivered as its results."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from callback_sdk.errors import ConfigurationError, OutputError
from callback_sdk.program import files
from callback_sdk.program.files import OutputPatterns, Outputs, ResultsFile


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
    found = _found(["model/**/*.bin", f"{elsewhere}/*.csv", "./model/a.bin", "*.png"])
    assert sorted(found.files) == ["c.csv", "model/a.bin", "model/deep/b.bin"]
    assert found.missing == ["*.png"]


def test_two_files_of_the_same_name_are_an_error(tmp_path: Path) -> None:
    """One of them would be lost."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.bin").write_text(folder)
    with pytest.raises(OutputError, match="would both be named"):
        _found([f"{tmp_path}/*/model.bin"])


def test_a_file_that_two_patterns_match_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_text("x")
    found = _found([f"{tmp_path}/*.bin", f"{tmp_path}/../{tmp_path.name}/model.bin"])
    assert list(found.files) == ["model.bin"]


def test_the_working_directory_itself_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer rejects the name with an error of its own."""
    monkeypatch.chdir(tmp_path)
    assert _found(["./"]) == ({".": Path()}, [], [])


def test_an_output_file_of_an_earlier_job_is_not_this_ones(tmp_path: Path) -> None:
    """Also if this job writes one beside it, or none at all."""
    old, new = tmp_path / "old.bin", tmp_path / "new.bin"
    old.write_text("x")
    patterns = OutputPatterns([f"{tmp_path}/*.bin"])
    assert patterns.find() == ({}, [f"{tmp_path}/*.bin"], [str(old)])
    new.write_text("x")
    assert patterns.find() == ({"new.bin": new}, [], [str(old)])


def test_a_file_with_the_times_of_the_earlier_one_is_this_jobs(tmp_path: Path) -> None:
    """tar and `cp -p` keep the time of what they copy."""
    path = tmp_path / "model.bin"
    path.write_text("old")
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    patterns = OutputPatterns([str(path)])
    path.write_text("new")
    os.utime(path, ns=times)
    assert patterns.find().files == {"model.bin": path}


@pytest.mark.parametrize("change", ["write", "add", "remove"])
def test_a_directory_is_this_jobs_if_anything_in_it_was_changed(change: str, tmp_path: Path) -> None:
    """The time of a directory itself changes only with its entries."""
    deep = tmp_path / "model" / "deep"
    deep.mkdir(parents=True)
    (deep / "a.bin").write_text("a")
    (deep / "b.bin").write_text("b")
    patterns = OutputPatterns([f"{tmp_path}/mod*"])
    assert patterns.find().unchanged == [str(tmp_path / "model")]
    if change == "write":
        (deep / "a.bin").write_text("other")
    elif change == "add":
        (deep / "c.bin").touch()
    else:
        (deep / "a.bin").unlink()
    assert patterns.find() == ({"model": tmp_path / "model"}, [], [])


def test_files_of_an_earlier_job_can_be_included(tmp_path: Path) -> None:
    """A job that runs again may find what its first run has written."""
    path = tmp_path / "results.json"
    path.write_text("[]")
    assert OutputPatterns([str(path)], existing=True).find() == ({"results.json": path}, [], [])
    assert ResultsFile(path, existing=True).is_written


@pytest.mark.parametrize("has_memory", [True, False])
def test_results_need_no_disk(has_memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file systems of a container may all be read-only, but for its shared memory."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    memory = tmp_path / "memory"
    monkeypatch.setattr(files, "_SHARED_MEMORY", str(memory))
    if not has_memory:
        with pytest.raises(ConfigurationError, match="No temporary directory") as raised:
            ResultsFile(None)
        assert "--results" in (raised.value.hint or "")
        return
    memory.mkdir()
    results = ResultsFile(None)
    assert results.path.parent.parent == memory
    results.remove()


def _found(patterns: list[str]) -> Outputs:
    """Return what a program has written that found nothing there."""
    return OutputPatterns(patterns, existing=True).find()
