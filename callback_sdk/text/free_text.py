"""Remove credentials from URLs in free text, such as the output of an algorithm; pure."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from callback_sdk.text import path_secrets
from callback_sdk.text.path_secrets import HIDDEN

# From the separator on, as a pattern for the scheme would take quadratic time in a long word.
_AFTER_SCHEME = re.compile(r"://[^\s\"'<>`]+")

_CREDENTIALS = re.compile(r"sig|credential|token|secret|passw|auth|key", re.IGNORECASE)
"""Words in the names of query parameters whose values are credentials."""


def without_credentials(text: str) -> str:
    """Replace passwords, credentials in paths, and queries with signatures or tokens, in all URLs of a text."""
    return _AFTER_SCHEME.sub(_redact, text) if "://" in text else text


def _redact(match: re.Match[str]) -> str:
    rest, _, fragment = match[0].removeprefix("://").partition("#")
    address, question, query = rest.partition("?")
    authority, slash, path = address.partition("/")
    names = [name for name, _ in parse_qsl(query, keep_blank_values=True, max_num_fields=None)]
    user, at, host = authority.rpartition("@")
    if at:
        authority = f"{user.partition(':')[0]}:{HIDDEN}@{host}" if ":" in user else f"{HIDDEN}@{host}"
    if slash:
        full = f"/{path}"
        host = host.partition(":")[0].lower()
        path = path_secrets.without(full, path_secrets.secrets_of(host, full)).removeprefix("/")
    shown_query = HIDDEN if any(map(_CREDENTIALS.search, names)) else query
    shown_fragment = HIDDEN if _CREDENTIALS.search(fragment) else fragment
    return f"://{authority}{slash}{path}{question}{shown_query}" + (f"#{shown_fragment}" if fragment else "")
