"""callback_sdk.client.server_events"""

from __future__ import annotations

import random

import pytest

from callback_sdk.client import server_events
from callback_sdk.client.server_events import EventParser, EventTooLongError, ServerEvent

STREAM = (
    b"\xef\xbb\xbfretry: 2000\n\n"
    b": heartbeat\n\n"
    b'event: status\ndata: {"a": 1}\n\n'
    b"data: one\rdata:two\r\r"
    b"id: 1.4\r\nevent:output\r\ndata: a\xe2\x80\xa8b\xc2\x85c\x0bd\r\n\r\n"
    b"id\ndata\n\n"
    b"id: x\0y\nunknown: 1\nno colon\ndata:  two spaces\n\n"
    b"id: 2\n\n"
    b"data: cut"
)
EVENTS = [
    ServerEvent("status", '{"a": 1}', ""),
    ServerEvent("message", "one\ntwo", ""),
    ServerEvent("output", "a\u2028b\x85c\x0bd", "1.4"),
    ServerEvent("message", "", ""),
    ServerEvent("message", " two spaces", ""),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(STREAM)])
def test_a_stream_is_parsed_in_pieces_of_any_size(size: int) -> None:
    """With each kind of line end, and without taking other characters for one."""
    parser = EventParser()
    pieces = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    assert [event for piece in pieces for event in parser.feed(piece)] == EVENTS
    assert list(parser.feed(b"\n\n")) == [ServerEvent("message", "cut", "2")]


def test_pieces_of_random_sizes_are_the_same() -> None:
    """A CR at the end of a piece and the LF at the start of the next one are one line end."""
    randomness = random.Random(1)
    for _ in range(200):
        parser, rest, found = EventParser(), STREAM, []
        while rest:
            size = randomness.randint(1, 20)
            found += parser.feed(rest[:size])
            rest = rest[size:]
        assert found == EVENTS


@pytest.mark.parametrize("endless", [b"data: x\n", b": comment\n", b"x"])
def test_an_endless_event_is_an_error(endless: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, whatever the service sends."""
    monkeypatch.setattr(server_events, "MAX_EVENT", 10_000)
    parser = EventParser()
    with pytest.raises(EventTooLongError):
        any(list(parser.feed(endless)) for _ in range(20_000))
