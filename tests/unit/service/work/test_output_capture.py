"""callback_sdk.service.work.output_capture"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from callback_sdk.service.work import output_capture


@pytest.mark.parametrize("lines", [0, 1, 100_000])
def test_the_end_is_whole_when_the_start_is_freed(tmp_path: Path, lines: int) -> None:
    """Output written during the release of disk space isn't lost, and the rest of the file takes almost no space."""
    path = tmp_path / "output"
    with path.open("ab", buffering=0) as file:
        file.write(b"".join(b"line %d\n" % number for number in range(lines)))
        output_capture._free_start(path)
        file.write(b"the end\n")
    end = output_capture.read_tail(path)
    assert end.endswith(b"line %d\nthe end\n" % (lines - 1) if lines else b"the end\n")
    assert len(end) <= output_capture.TAIL_BYTES
    assert b"\0" not in end
    assert path.stat().st_blocks * 512 <= 2 * output_capture.TAIL_BYTES


def test_file_systems_without_holes_are_supported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is then truncated to its end."""
    monkeypatch.setattr(output_capture, "_PUNCH_HOLE", 1 << 30)
    path = tmp_path / "output"
    path.write_bytes(b"".join(b"line %d\n" % number for number in range(100_000)))
    before = output_capture.read_tail(path)
    output_capture._free_start(path)
    assert path.read_bytes() == before
    assert path.stat().st_size <= output_capture.TAIL_BYTES


def test_lines_printed_outside_a_run_are_logged_up_to_a_limit(caplog: pytest.LogCaptureFixture) -> None:
    """Each is a separate record; all are read, so that their writer never blocks."""
    caplog.set_level(logging.INFO, output_capture.__name__)
    read, write = os.pipe()
    with os.fdopen(write, "wb") as file:
        file.write(b"na\xff\n" + b"x" * 2500 + b"\n" + b"more\n" * 500)
    output_capture.log_lines(read)
    texts = [record.args[0] for record in caplog.records if isinstance(record.args, tuple) and record.args]
    assert texts[:4] == ["na\ufffd", "x" * 1000 + " [the rest of the line is dropped]", "more", "more"]
    assert len(texts) == output_capture._LINES
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(read)


def test_a_line_that_is_cut_shows_no_part_of_a_credential(caplog: pytest.LogCaptureFixture) -> None:
    """What follows the cut has nothing that tells that it belongs to a URL."""
    caplog.set_level(logging.INFO, output_capture.__name__)
    read, write = os.pipe()
    with os.fdopen(write, "wb") as file:
        file.write(b"https://h/k?X-Amz-Security-Token=" + b"a" * 1200 + b"&X-Amz-Signature=deadbeef\n")
    output_capture.log_lines(read)
    assert "deadbeef" not in caplog.text
    assert "aaa" not in caplog.text
