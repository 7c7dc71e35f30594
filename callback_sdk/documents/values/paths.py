"""Paths of nested values, for errors."""

from __future__ import annotations

import json

_MAX_LENGTH = 300
"""Maximum number of characters of a path in an error."""


def member(path: str, key: object) -> str:
    """Return the path of a member, `path.key`, or `path["a key"]` where that would be ambiguous."""
    text = str(key)
    return f"{path}.{text}" if text.isidentifier() else f"{path}[{json.dumps(text, ensure_ascii=False)}]"


def shorten(path: str) -> str:
    """Return a path for an error, truncated if it is very long."""
    return path if len(path) <= _MAX_LENGTH else f"{path[:_MAX_LENGTH]}…"
