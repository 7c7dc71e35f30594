"""callback_sdk.aistore.bodies"""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from callback_sdk.aistore.bodies import rewind, rewindable
from callback_sdk.errors import BodyNotRewindableError


def test_a_file_begins_where_it_was_handed_over(tmp_path: Path) -> None:
    """Length, position and a second reading count from there, and the rest is the file's own."""
    path = tmp_path / "data"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        file.seek(4)
        body = rewindable(file)
        assert (body.tell(), body.seek(0, os.SEEK_END), body.seek(0)) == (0, 6, 0)
        assert body.read(2) == b"45"
        assert (body.seek(1, os.SEEK_CUR), body.read()) == (3, b"789")
        rewind(body)
        assert body.read() == b"456789"
        assert body.name == str(path)


@pytest.mark.parametrize("body", [b"x", bytearray(b"x"), "x", None, io.BytesIO(b"x")])
def test_a_body_at_its_start_is_not_wrapped(body: object) -> None:
    """A file that is at its start is returned unchanged."""
    assert rewindable(body) is body
    rewind(body)


def test_a_body_that_can_not_be_rewound_is_an_error() -> None:
    """A pipe can't be rewound."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as pipe, os.fdopen(write, "wb"):
        assert rewindable(pipe) is pipe
        with pytest.raises(BodyNotRewindableError, match="BufferedReader"):
            rewind(pipe)
