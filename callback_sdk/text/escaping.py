"""Text of others on its way to a terminal or into a log: nothing in it moves the cursor, or begins another line.

An error of an algorithm, a server's message, a file's name may hold escape sequences, which a terminal obeys, line
breaks, with which it forges a log line, and marks that turn the direction of writing around (CWE-117, CWE-150, and
"Trojan Source", CVE-2021-42574).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache

_UNSAFE = (
    # C0, DEL, and C1 with U+0085.
    *(range(0x20), range(0x7F, 0xA0)),
    # Lone surrogates, which can't be written at all.
    range(0xD800, 0xE000),
    # Marks of direction, LINE and PARAGRAPH SEPARATOR, embeddings, overrides and isolates.
    *(range(0x061C, 0x061D), range(0x200E, 0x2010), range(0x2028, 0x202F), range(0x2066, 0x206A)),
    # Characters that can't be seen: the byte order mark inside of a text, and tags.
    *(range(0xFEFF, 0xFF00), range(0xE0000, 0xE0080)),
)

TRACEBACK = "traceback"
"""The attribute of a log record that holds a traceback from another process."""

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escaped(text: str, *, lines: bool = False) -> str:
    r"""Return a text with escapes such as `\n`, `\x1b` and `\u202e` for whatever isn't only to be read.

    Args:
        text: What is shown.
        lines: Whether it may have several lines: line feeds and tabs stay.
    """
    # The usual case: nothing to do.
    if text.isprintable() and text.isascii():
        return text
    return text.translate(_table(_escape, lines))


def escaped_json(document: str) -> str:
    """Return a JSON document that is the same, and can be shown: what would be unsafe is only in its strings.

    Args:
        document: Valid JSON.
    """
    return document.translate(_table(_json_escape, True))


class LogFormatter(logging.Formatter):
    """Makes one line of each message; tracebacks are indented below it, so that none of their lines looks like one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and what belongs below it."""
        below = getattr(record, TRACEBACK, "")
        return f"{super().format(record)}\n{_indented(below)}" if below else super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line."""
        return escaped(super().formatMessage(record))

    def formatException(self, ei: logging._SysExcInfoType) -> str:  # noqa: N802
        """Return a traceback."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """Return a stack."""
        return _indented(super().formatStack(stack_info))


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in escaped(text, lines=True).rstrip("\n").split("\n"))


def _escape(code: int) -> str:
    if chr(code) in _NAMED:
        return _NAMED[chr(code)]
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _json_escape(code: int) -> str:
    units = chr(code).encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place]:02x}{units[place + 1]:02x}" for place in range(0, len(units), 2))


@cache
def _table(escape: Callable[[int], str], lines: bool) -> dict[int, str]:
    """Return the escapes by code, made when they are first needed: few processes ever meet such a text."""
    kept = "\n\t" if lines else ""
    return {code: escape(code) for codes in _UNSAFE for code in codes if chr(code) not in kept}
