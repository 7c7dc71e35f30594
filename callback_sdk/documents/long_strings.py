"""Long strings of a JSON text that is read in chunks: validate their characters and remove them."""

from __future__ import annotations

import codecs
import re

_ESCAPE = re.compile(rb"\\.", re.DOTALL)

_SURROGATE = re.compile(rb"\\(?:(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL)

_CHARACTERS = re.compile(rb'(?:[^"\\\x00-\x1f]+|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*')
"""Characters of a string, RFC 8259, section 7."""

_CUT_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")

_NUMBER = b"0123456789+-.eE"

_LONGEST_NUMBER = 256 * 1024
"""Characters of a number without an end after which no more are read. Python parses no integer as long."""


class LongStrings:
    """Removes the characters of all strings that are cut by the end of a chunk.

    A parser that keeps an unfinished token and starts it again with each chunk takes quadratic time, and all of the
    token's memory. If the removed characters are valid, which is checked here, the rest is JSON exactly if the text is.
    """

    def __init__(self) -> None:
        self._inside = False
        self._cut = b""
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._digits = 0

    def remove(self, chunk: bytes) -> bytes:
        """Return the next chunk without the characters of cut strings, and with spaces for escaped surrogates.

        Raises:
            ValueError: A cut string has a character that isn't allowed, or a number is too long.
        """
        start = 0
        if self._inside:
            chunk = self._after_characters(self._cut + chunk)
            if not chunk.startswith(b'"'):
                return b""
            start = 1
        self._count_digits(chunk)
        if b"\\ud" in chunk or b"\\uD" in chunk:
            # yajl takes a lone high surrogate, but no low one. RFC 8259, section 8.2, allows both.
            chunk = _SURROGATE.sub(lambda found: b"\\u0020" if found[1] else found[0], chunk)
        # The escapes are replaced by as many bytes, so that all quotes found begin or end a string.
        masked = _ESCAPE.sub(b"__", chunk) if b"\\" in chunk else chunk
        if masked.count(b'"', start) % 2 == 0:
            return chunk
        opening = masked.rindex(b'"') + 1
        self._inside = True
        self._after_characters(chunk[opening:])
        return chunk[:opening]

    def _after_characters(self, text: bytes) -> bytes:
        """Check the characters of the string up to its end or that of the text; return the rest with the end quote."""
        found = _CHARACTERS.match(text)
        end = found.end() if found else 0
        rest = text[end:]
        self._inside = rest[:1] != b'"'
        if self._inside and rest and not _CUT_ESCAPE.match(rest):
            raise ValueError("lexical error: invalid character in a string")
        self._cut = rest if self._inside else b""
        self._utf8.decode(text[:end], final=not self._inside)
        return rest

    def _count_digits(self, chunk: bytes) -> None:
        self._digits = 0 if chunk.strip(_NUMBER) else self._digits + len(chunk)
        if self._digits > _LONGEST_NUMBER:
            raise ValueError("lexical error: a number is too long")
