"""callback_sdk.service.work.live_output"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from callback_sdk.service.store import Store, StoreUnavailableError, Submission, TaskRow
from callback_sdk.service.store.output import MAX_OUTPUT
from callback_sdk.service.work.live_output import LiveOutput


class Kept:
    """Keeps what was written, as a store does: a piece replaces all that follows its start."""

    def __init__(self) -> None:
        self.pieces: dict[int, bytes] = {}
        self.away = False

    def write(self, start: int, data: bytes) -> None:
        if self.away:
            raise StoreUnavailableError("It is away.")
        self.pieces = {at: piece for at, piece in self.pieces.items() if at < start} | {start: data}

    @property
    def text(self) -> bytes:
        return b"".join(self.pieces.values())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file that doesn't exist yet."""
    return tmp_path / "output"


@pytest.fixture
def kept() -> Kept:
    """Return an empty store."""
    return Kept()


@pytest.fixture
def output(path: Path, kept: Kept) -> LiveOutput:
    """Return the output of a run that has printed nothing."""
    return LiveOutput(path, kept.write)


def add(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_new_output_is_stored_once(output: LiveOutput, path: Path, kept: Kept) -> None:
    """Small pieces are joined, and nothing is stored without new output."""
    output.update()
    assert kept.pieces == {}
    for line in (b"one\n", b"two\n", b"three\n"):
        add(path, line)
        output.update()
        output.update()
    assert kept.pieces == {0: b"one\ntwo\nthree\n"}


def test_long_output_has_few_pieces(output: LiveOutput, path: Path, kept: Kept) -> None:
    """Their number doesn't depend on that of the updates."""
    for number in range(1000):
        add(path, b"line %03d of a run that prints slowly\n" % number)
        output.update()
    assert kept.text == path.read_bytes()
    assert len(kept.pieces) < 10


def test_half_a_url_waits_for_its_end(output: LiveOutput, path: Path, kept: Kept) -> None:
    """Otherwise the second half would be stored with its signature."""
    add(path, b"PUT https://b.s3.amazonaws.com/k?X-Amz-Sig")
    output.update()
    assert kept.text == b"PUT "
    add(path, b"nature=topsecret and more")
    output.update()
    assert kept.text == b"PUT https://b.s3.amazonaws.com/k?*** and more"
    add(path, b" https://h/")
    output.update(final=True)
    assert kept.text == b"PUT https://b.s3.amazonaws.com/k?*** and more https://h/"


def test_a_line_is_shown_while_it_grows(output: LiveOutput, path: Path, kept: Kept) -> None:
    """Such as the dots of a progress indicator."""
    for _ in range(3):
        add(path, b".")
        output.update()
    assert kept.text == b"..."


@pytest.mark.parametrize("cut", range(1, 60))
def test_no_part_of_a_credential_is_stored(output: LiveOutput, path: Path, kept: Kept, cut: int) -> None:
    """Wherever the run pauses."""
    line = b"from postgresql://me:topsecret@db/x to https://h/?sig=topsecret ended"
    add(path, line[:cut])
    output.update()
    assert b"top" not in kept.text
    add(path, line[cut:])
    output.update()
    assert kept.text == b"from postgresql://db/x to https://h/?*** ended"


def test_what_is_printed_too_fast_is_skipped(output: LiveOutput, path: Path, kept: Kept) -> None:
    """The position tells how much; a token that was cut is dropped."""
    add(path, b"first\n")
    output.update()
    add(path, b"https://h/?sig=" + b"s" * 100 + b"\n" + b"x" * (MAX_OUTPUT - 30) + b"\nlast line\n")
    output.update()
    *_, (start, data) = kept.pieces.items()
    assert data == b"\n" + b"x" * (MAX_OUTPUT - 30) + b"\nlast line\n"
    assert start + len(data) == path.stat().st_size


def test_zeros_of_a_hole_are_skipped(output: LiveOutput, path: Path, kept: Kept) -> None:
    """The start of the file is freed while it is read; see `output_capture`."""
    path.write_bytes(b"\0" * 4096 + b"half a token\nline\n")
    output.update()
    assert kept.pieces == {4100: b" a token\nline\n"}


def test_a_truncated_file_is_read_from_its_start(output: LiveOutput, path: Path, kept: Kept) -> None:
    """On file systems without holes."""
    add(path, b"one\n" * 100)
    output.update()
    path.write_bytes(b"two\n")
    output.update()
    assert kept.text.endswith(b"one\ntwo\n")


def test_nothing_is_lost_while_the_store_is_away(output: LiveOutput, path: Path, kept: Kept) -> None:
    """The next update stores it."""
    add(path, b"one\n")
    kept.away = True
    with pytest.raises(StoreUnavailableError):
        output.update()
    kept.away = False
    add(path, b"two\n")
    output.update()
    assert kept.text == b"one\ntwo\n"


def test_bytes_that_are_no_text_are_kept(output: LiveOutput, path: Path, kept: Kept) -> None:
    """Also next to a URL."""
    add(path, b"\xff\xfe https://h/?token=topsecret \xc3\n")
    output.update()
    assert kept.text == b"\xff\xfe https://h/?*** \xc3\n"


def test_the_store_keeps_the_last_run_only(store: Store, path: Path) -> None:
    """A run that lost its claim stores nothing any more."""
    task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
    store.tasks.submit([Submission(task=task, features=b"[]")])
    outputs = []
    for _ in range(2):
        attempt = store.tasks.claim("1", "w").attempt
        outputs.append(LiveOutput(path, partial(store.output.write, "1", attempt)))
        store.tasks.release("1", attempt)
    first, second = outputs
    add(path, b"printed\n")
    first.update()
    assert store.output.read("1").data == b""
    second.update()
    assert (store.output.read("1").attempt, store.output.read("1").data) == (2, b"printed\n")
