"""Find credentials in the path of a URL, as in webhook URLs of chat services; pure.

Sources: the pages "Sending messages using incoming webhooks" (Slack), "Execute Webhook" (Discord), "Create Incoming
Webhooks" (Microsoft Teams), "Making requests" (Telegram Bot API), "Using Pre-Authenticated Requests" (Oracle).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

HIDDEN = "***"

_SIGNATURES = frozenset(
    {
        *("x-amz-signature", "signature", "sig", "x-goog-signature", "x-oss-signature", "q-signature"),
        *("temp_url_sig", "upload_id"),
    }
)
"""Query parameters of signatures. With one of them the path is an object key, which is not secret."""

_KNOWN = (
    # After the workspace and the app, or the channel's webhook.
    ("slack.com", re.compile(r"/(?:services|workflows|triggers)/[^/]+/[^/]+/(.+)")),
    ("slack-gov.com", re.compile(r"/(?:services|workflows|triggers)/[^/]+/[^/]+/(.+)")),
    ("discord.com", re.compile(r"/api/(?:v[0-9]+/)?webhooks/[^/]+/([^/]+)")),
    ("discordapp.com", re.compile(r"/api/(?:v[0-9]+/)?webhooks/[^/]+/([^/]+)")),
    ("office.com", re.compile(r"/webhook[^/]*/(.+)")),
    ("office365.com", re.compile(r"/webhook[^/]*/(.+)")),
    ("telegram.org", re.compile(r"/(?:file/)?bot([^/]+)")),
    ("zapier.com", re.compile(r"/hooks/[^/]+/[^/]+/(.+)")),
    ("make.com", re.compile(r"/(.+)")),
    ("integromat.com", re.compile(r"/(.+)")),
    ("ifttt.com", re.compile(r".*/key/([^/]+)")),
    ("pagerduty.com", re.compile(r"/integration/([^/]+)")),
    ("webhook.site", re.compile(r"/([^/]+)")),
    ("hc-ping.com", re.compile(r"/([^/]+)")),
    # Of Oracle's realms.
    *((domain, re.compile(r"/p/([^/]+)")) for domain in ("oraclecloud.com", "oraclegovcloud.com", "customer-oci.com")),
    # On any host: self-hosted Bot API servers, and custom domains of Oracle.
    ("", re.compile(r"/(?:file/)?bot[0-9]+:([^/]+)")),
    ("", re.compile(r"/p/([^/]+)/n/[^/]+/b/")),
)

_NAMED = re.compile(r"(?:api[_-]?)?key|token|secret|auth|password", re.IGNORECASE)
"""A segment that marks the next one as a credential."""

_HOOK = re.compile(r"(?:web)?hooks?(?:[_-]?test)?|incoming|integrations?|alerts?", re.IGNORECASE)
"""A segment that precedes a token, which may be short."""

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_CHUNKS = re.compile(r"[A-Za-z0-9]+")

_UUID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)
_HEXADECIMAL = re.compile(r"[0-9a-f]+|[0-9A-F]+")

_MIN_LENGTH = 16
"""Minimum number of letters and digits of a random segment."""

_LONG = 20
"""Minimum length of an unbroken run of letters and digits that is random if it alternates at least three times."""

_MAX_WORD = 32


def secrets_of(host: str, path: str, query: Iterable[str]) -> tuple[str, ...]:
    """Return the segments of a path that are credentials, unmodified.

    Args:
        host: The host in lower case.
        path: The path with its leading slash.
        query: Names of the query's parameters.
    """
    for domain, pattern in _KNOWN:
        if (not domain or host == domain or host.endswith(f".{domain}")) and (found := pattern.match(path)):
            return tuple(segment for segment in found[1].split("/") if segment)
    if any(name.lower() in _SIGNATURES for name in query):
        return ()
    return tuple(_random_segments(path))


def without(path: str, secrets: Iterable[str]) -> str:
    """Replace the credentials in a path by asterisks."""
    hidden = frozenset(secrets)
    if not hidden:
        return path
    return "/".join(_hide(segment, hidden) for segment in path.split("/"))


def _hide(segment: str, hidden: frozenset[str]) -> str:
    # Telegram's tokens have a prefix: bot<id>:<token>.
    for end in (segment, segment.removeprefix("bot"), segment.partition(":")[2]):
        if end in hidden:
            return f"{segment[: len(segment) - len(end)]}{HIDDEN}"
    return segment


def _random_segments(path: str) -> Iterable[str]:
    before = ""
    for segment in path.split("/"):
        text = unquote(segment)
        if segment and (_NAMED.fullmatch(before) or is_random(text) or (_HOOK.fullmatch(before) and _is_mixed(text))):
            yield segment
        before = segment


def _is_mixed(text: str) -> bool:
    """Return whether a text of some length alternates between letters and digits, or between lower and upper case."""
    chunks = _CHUNKS.findall(text)
    changes = sum(len(_WORDS.findall(chunk)) - 1 for chunk in chunks)
    return sum(map(len, chunks)) >= _MIN_LENGTH // 2 and changes > 2


def is_random(text: str) -> bool:
    """Return whether a text looks like a random token rather than a name.

    Names separate words and numbers by hyphens or capitals. Random texts alternate between lower case, upper case and
    digits, mostly after one or two characters, without a separator. UUIDs and digests count as random too.
    """
    chunks = _CHUNKS.findall(text)
    letters = sum(map(len, chunks))
    if letters < _MIN_LENGTH:
        return False
    words = [_WORDS.findall(chunk) for chunk in chunks]
    short = sum(len(word) <= 2 for found in words if len(found) > 2 for word in found)
    return (
        short * 6 > letters
        or _UUID.search(text) is not None
        or any(_is_token(chunk, len(found)) for chunk, found in zip(chunks, words, strict=True))
    )


def _is_token(chunk: str, words: int) -> bool:
    if chunk.isdigit() or len(chunk) < _MIN_LENGTH:
        return False
    mixed = not chunk.isalpha()
    hexadecimal = mixed and _HEXADECIMAL.fullmatch(chunk) is not None
    return hexadecimal or (mixed and words > 3 and len(chunk) >= _LONG) or len(chunk) >= _MAX_WORD
