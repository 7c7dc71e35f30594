"""callback_sdk.service.api.task_output"""

from __future__ import annotations

import pytest
from fastapi import HTTPException

from callback_sdk.service.api.task_output import OutputPosition, new_output, parse_position, show_output
from callback_sdk.service.store.output import StoredOutput


def output(data: bytes, *, attempt: int = 1, start: int = 0) -> StoredOutput:
    return StoredOutput(attempt=attempt, start=start, data=data)


def read(*stored: StoredOutput, ended: bool = False) -> list[str]:
    """Return what a client sees that asks each time with the cursor of the last response."""
    position, texts = OutputPosition(), []
    for one in stored:
        text, position = new_output(one, position, ended=ended)
        position = parse_position(str(position))
        texts.append(text)
    return texts


def test_only_new_output_is_returned() -> None:
    """Nothing twice."""
    one, two = output(b"one\n"), output(b"one\ntwo\n")
    assert read(StoredOutput(), one, two, two) == ["", "one\n", "two\n", ""]


def test_characters_are_not_cut() -> None:
    """The rest of a character may not be stored yet."""
    text = "aä☃".encode()
    assert read(*(output(text[:length]) for length in range(len(text) + 1))) == ["", "a", "", "ä", "", "", "☃"]
    assert read(output(text[:-1]), ended=True) == ["aä\ufffd"]


def test_missing_output_is_noted() -> None:
    """With its size."""
    assert show_output(output(b"last\n", start=1000)) == "[1000 bytes of earlier output were dropped]\nlast\n"
    later = read(output(b"one\n"), output(b"last\n", start=104))[1]
    assert later == "[100 bytes of earlier output were dropped]\nlast\n"
    assert show_output(StoredOutput()) == ""


def test_another_run_is_noted() -> None:
    """Its output begins anew."""
    assert read(output(b"one\ntwo"), output(b"one\n", attempt=2)) == ["one\ntwo", "\n[run 2]\none\n"]
    assert read(output(b"one\n", attempt=2)) == ["one\n"]


@pytest.mark.parametrize("cursor", ["", "1", "1.", ".1", "-1.0", "1.0.0", "1.٣", "9" * 20 + ".0", "1.0\n"])
def test_other_cursors_are_rejected(cursor: str) -> None:
    """As an invalid request."""
    with pytest.raises(HTTPException) as caught:
        parse_position(cursor)
    assert caught.value.status_code == 422
