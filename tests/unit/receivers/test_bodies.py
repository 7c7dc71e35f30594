"""Bodies of bounded size."""

from __future__ import annotations

import gzip
import io
import pickle

import pytest

from callback_sdk.errors import BodyTooLargeError, CallbackSDKError, DocumentError
from callback_sdk.receivers.bodies import check_length, read_bounded, unzip


class Endless(io.RawIOBase):
    """A body that doesn't end; it counts what is read of it."""

    count = 0

    def read(self, size: int = -1) -> bytes:
        assert size > 0
        self.count += size
        return b"x" * size


@pytest.mark.parametrize("announced", [None, "", "5", 5, "4", "x", "-1", "٥"])
def test_a_body_within_the_limit_is_read(announced: str | int | None) -> None:
    """Whatever its length is said to be."""
    assert read_bounded(io.BytesIO(b"12345").read, announced, 5) == b"12345"


def test_no_more_than_the_limit_is_read() -> None:
    """One byte more tells that the body is longer."""
    body = Endless()
    with pytest.raises(BodyTooLargeError, match="more than 200000 bytes"):
        read_bounded(body.read, None, 200_000)
    assert body.count == 200_001


@pytest.mark.parametrize("announced", ["6", 6, "9" * 20, "9" * 5000])
def test_an_announced_length_above_the_limit_is_rejected_before_reading(announced: str | int) -> None:
    """Also a number that Python doesn't convert."""
    body = Endless()
    with pytest.raises(BodyTooLargeError):
        read_bounded(body.read, announced, 5)
    assert body.count == 0


def test_a_body_that_is_shorter_than_announced_is_an_error() -> None:
    """It is not taken for the body: its signature would be wrong, and the sender would give up."""
    with pytest.raises(CallbackSDKError, match="Only 2 of 5 bytes") as caught:
        read_bounded(io.BytesIO(b"12").read, "5", 10)
    assert "middleware" in caught.value.hint


def test_lengths_at_the_limit_are_allowed() -> None:
    """The limit itself is."""
    check_length("5", 5)
    check_length(None, 5)


def test_gzip_is_decompressed_within_the_limit() -> None:
    """A small body may become a large one."""
    assert unzip(gzip.compress(b"x" * 1000), 1000) == b"x" * 1000
    with pytest.raises(BodyTooLargeError):
        unzip(gzip.compress(b"x" * 1001), 1000)
    with pytest.raises(BodyTooLargeError):
        unzip(gzip.compress(b"x" * 100_000_000), 1000)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: b"x" + data, lambda data: data + b"x"])
def test_invalid_gzip_is_rejected(change: object) -> None:
    """Truncated, not gzip, or followed by something else."""
    assert callable(change)
    with pytest.raises(DocumentError):
        unzip(change(gzip.compress(b"{}")), 1000)


def test_the_error_can_be_pickled() -> None:
    """Worker processes hand it over."""
    assert pickle.loads(pickle.dumps(BodyTooLargeError(7))).max_bytes == 7
