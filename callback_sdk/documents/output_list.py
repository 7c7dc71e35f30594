"""The member `outputs` of results: the list of a job's output files, added to any JSON object in constant memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.documents.body import Body
from callback_sdk.documents.values import encode
from callback_sdk.errors import OutputError

MEMBER = "outputs"
"""Name of the member."""

_SPELLING = re.compile(
    rb"(?:o|\\u006f)(?:u|\\u0075)(?:t|\\u0074)(?:p|\\u0070)(?:u|\\u0075)(?:t|\\u0074)(?:s|\\u0073)", re.IGNORECASE
)
"""The member's name as JSON may spell it. A match may be anywhere, so only a parser tells whether it is the member."""

_OVERLAP = len(r"\u0000") * len(MEMBER)
"""Maximum bytes of a spelling."""

_VISIBLE = re.compile(rb"[^ \t\n\r]")

_SPACE = b" \t\n\r"


def open_results(results: Body) -> Body:
    """Return results up to where the list follows, as `add_list` needs them.

    Args:
        results: Valid JSON.

    Raises:
        OutputError: The results are neither null nor an object without a member `outputs`.
        EncodingError: A file of results was changed.
    """
    first, end, may_have_member = _survey(results)
    if first == b"nu":
        return Body(b"{")
    if first[:1] != b"{":
        raise OutputError(
            "The results are not a JSON object, which could list the output files.",
            hint="Return a dict, such as {'predictions': ...}, or None if there are only files.",
        )
    if may_have_member and _has_member(results):
        raise taken_member_error()
    separator = b"" if first == b"{}" else b","
    return Body(*results.cut(0, end - 1).parts, separator)


def taken_member_error() -> OutputError:
    """Return the error of results that have the member of the list."""
    return OutputError(
        f"The results have a member {MEMBER!r}, where the output files are listed.", hint="Rename the member."
    )


def add_list(results: Body, entries: Mapping[str, Mapping[str, Any]]) -> Body:
    """Return results with the list of output files.

    Args:
        results: From `open_results`.
        entries: What is known of each file, by its name.
    """
    return Body(*results.parts, b'"%b":%b}' % (MEMBER.encode(), encode(entries, path=MEMBER).data))


def _survey(results: Body) -> tuple[bytes, int, bool]:
    """Return the first two visible bytes, where the last one ends, and whether there may be a member `outputs`."""
    first, end, start, tail, may_have_member = b"", 0, 0, b"", False
    for chunk in results.chunks():
        if len(first) < 2:
            first = (first + b"".join(islice(_VISIBLE.findall(chunk[:4096]) or _VISIBLE.findall(chunk), 2)))[:2]
        if visible := len(chunk.rstrip(_SPACE)):
            end = start + visible
        start += len(chunk)
        if not may_have_member:
            may_have_member = _SPELLING.search(tail + chunk[:_OVERLAP]) is not None or bool(_SPELLING.search(chunk))
            tail = (tail + chunk)[-_OVERLAP:] if len(chunk) < _OVERLAP else chunk[-_OVERLAP:]
    return first, end, may_have_member


def _has_member(results: Body) -> bool:
    with no_fork:
        import ijson

    events = ijson.sendable_list()
    parser = ijson.basic_parse_coro(events)
    depth = 0
    for chunk in results.chunks():
        parser.send(chunk)
        for event, value in events:
            if event == "map_key" and depth == 1 and value == MEMBER:
                return True
            depth += event in ("start_map", "start_array")
            depth -= event in ("end_map", "end_array")
        events.clear()
    return False
