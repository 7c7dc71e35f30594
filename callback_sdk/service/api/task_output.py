"""A task's output as text: what is new since a position."""

from __future__ import annotations

import codecs
import re

from attrs import define
from fastapi import HTTPException

from callback_sdk.service.store.output import StoredOutput


@define(frozen=True)
class OutputPosition:
    """A position in a task's output: the number of the run, and bytes of its output."""

    attempt: int = 0
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.attempt}.{self.offset}"


def show_output(output: StoredOutput) -> str:
    """Return the stored output, with a note about what was dropped."""
    text, _ = new_output(output, OutputPosition(), ended=True)
    return text


def new_output(output: StoredOutput, after: OutputPosition, *, ended: bool) -> tuple[str, OutputPosition]:
    """Return the output after a position, with notes about what is missing, and the position of its end.

    Args:
        output: The stored output of the last run.
        after: The position that the client has reached.
        ended: Whether the output is complete: otherwise a character may be cut off at its end.
    """
    if not output.data or output.attempt < after.attempt:
        return "", after
    is_new_run = output.attempt > after.attempt
    offset = 0 if is_new_run else after.offset
    note = f"\n[run {output.attempt}]\n" if is_new_run and after.attempt else ""
    if offset < output.start:
        note += f"[{output.start - offset} bytes of earlier output were dropped]\n"
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    data = output.data[max(0, offset - output.start) :]
    text = decoder.decode(data, final=ended)
    return note + text, OutputPosition(output.attempt, output.end - len(decoder.getstate()[0]))


def parse_position(cursor: str) -> OutputPosition:
    """Parse a position, as a client sends it back.

    Raises:
        HTTPException: 422 if it is invalid.
    """
    match = re.fullmatch(r"([0-9]{1,9})\.([0-9]{1,18})", cursor, re.ASCII)
    if match is None:
        raise HTTPException(422, "Invalid cursor. Send 'cursor' of the previous response unchanged.")
    return OutputPosition(int(match[1]), int(match[2]))
