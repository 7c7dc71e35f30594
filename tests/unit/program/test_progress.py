"""callback_sdk.program.progress"""

from __future__ import annotations

from pathlib import Path

import pytest

from callback_sdk.program.progress import PROGRESS, ProgramProgress, ProgressFile, main, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        (" \n", None),
        ("0.5", ProgramProgress(0.5, "")),
        ("0.1 first\n0.5  second step \n", ProgramProgress(0.5, "second step")),
        ("50% half", ProgramProgress(0.5, "half")),
        ("1e400 x", ProgramProgress(None, "1e400 x")),
        ("nan", ProgramProgress(None, "nan")),
        ("7 of 9 files", ProgramProgress(None, "7 of 9 files")),
        ("reading data", ProgramProgress(None, "reading data")),
    ],
)
def test_the_last_line_counts(text: str, expected: ProgramProgress | None) -> None:
    """What is not a fraction is a message."""
    assert parse(text) == expected


def test_the_file_is_read_when_it_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command replaces it, and programs may append to it."""
    file = ProgressFile()
    monkeypatch.setenv(PROGRESS, str(file.path))
    assert file.read() is None
    assert main(["0.25", "reading", " data"]) == 0
    assert file.read() == ProgramProgress(0.25, "reading data")
    assert file.read() is None
    with file.path.open("a") as writer:
        writer.write("x" * 100_000 + "\n0.75 writing\n")
    assert file.read() == ProgramProgress(0.75, "writing")
    file.remove()
    assert not file.path.parent.exists()


@pytest.mark.parametrize("arguments", [[], ["half"], ["1.5"], ["-0.1"], ["nan"]])
def test_wrong_usage_writes_nothing(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PROGRESS, str(tmp_path / "progress"))
    assert main(arguments) == 2
    assert "Usage" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
