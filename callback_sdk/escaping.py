"""Text of others on its way to a terminal or into a log: nothing in it moves the cursor, or begins another line.

An error of an algorithm, a server's message, a file's name may hold escape sequences, which a terminal obeys, line
breaks, with which it forges a log line, and marks that turn the direction of writing around (CWE-117, CWE-150, and
"Trojan Source", CVE-2021-42574).
"""

from __future__ import annotations

import logging
import re

_UNSAFE = re.compile(
    # C0, DEL, and C1 with U+0085; lone surrogates, which can't be written at all.
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff"
    # Marks of direction, LINE and PARAGRAPH SEPARATOR, embeddings, overrides and isolates.
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
    # Characters that can't be seen: tags, and the byte order mark inside of a text.
    "\ufeff\U000e0000-\U000e007f]"
)
_UNSAFE_BUT_LINES = re.compile(
    # The same without line feed and tab.
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]"
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
    return (_UNSAFE_BUT_LINES if lines else _UNSAFE).sub(_escape, text)


def escaped_json(document: str) -> str:
    """Return a JSON document that is the same, and can be shown: what would be unsafe is only in its strings.

    Args:
        document: Valid JSON.
    """
    return _UNSAFE_BUT_LINES.sub(lambda found: _json_escape(found[0]), document)


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


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place]:02x}{units[place + 1]:02x}" for place in range(0, len(units), 2))
