"""Escape untrusted text for terminals and logs: control characters, line breaks and bidirectional marks.

Errors of algorithms, servers' messages and file names may contain terminal escape sequences (CWE-150), line breaks that
forge log lines (CWE-117), and marks that change the writing direction ("Trojan Source", CVE-2021-42574).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache

_UNSAFE = (
    # C0, DEL, and C1 with U+0085.
    *(range(0x20), range(0x7F, 0xA0)),
    # Lone surrogates, which can't be encoded.
    range(0xD800, 0xE000),
    # Bidirectional marks, LINE and PARAGRAPH SEPARATOR, embeddings, overrides and isolates.
    *(range(0x061C, 0x061D), range(0x200E, 0x2010), range(0x2028, 0x202F), range(0x2066, 0x206A)),
    # Invisible characters: the byte order mark within a text, and tags.
    *(range(0xFEFF, 0xFF00), range(0xE0000, 0xE0080)),
)

TRACEBACK = "traceback"
"""Attribute of a log record for a traceback from another process."""

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escape(text: str, *, lines: bool = False) -> str:
    r"""Replace unsafe characters by escapes such as `\n`, `\x1b` and `\u202e`.

    Args:
        text: The untrusted text.
        lines: Whether to keep line feeds and tabs.
    """
    # Fast path: most texts have nothing to escape.
    if text.isprintable() and text.isascii():
        return text
    return text.translate(_table(_escape, lines))


def escape_json(document: str) -> str:
    """Return an equivalent JSON document that is safe to show: unsafe characters only occur in strings.

    Args:
        document: Valid JSON.
    """
    return document.translate(_table(_json_escape, True))


class LogFormatter(logging.Formatter):
    """Formats each message as one line; tracebacks are indented, so that their lines can't be mistaken for messages."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message line, followed by tracebacks."""
        below = getattr(record, TRACEBACK, "")
        return f"{super().format(record)}\n{_indent(below)}" if below else super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the message line, escaped."""
        return escape(super().formatMessage(record))

    def formatException(self, ei: logging._SysExcInfoType) -> str:  # noqa: N802
        """Return the traceback, escaped and indented."""
        return _indent(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """Return the stack, escaped and indented."""
        return _indent(super().formatStack(stack_info))


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in escape(text, lines=True).rstrip("\n").split("\n"))


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
    """Return the escapes by code point. They are computed on first use, because few processes need them."""
    kept = "\n\t" if lines else ""
    return {code: escape(code) for codes in _UNSAFE for code in codes if chr(code) not in kept}
