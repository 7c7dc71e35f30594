"""Find credentials in the path of a URL, as in webhook URLs of chat services; pure.

Sources: the pages "Sending messages using incoming webhooks" (Slack), "Execute Webhook" (Discord), "Create Incoming
Webhooks" (Microsoft Teams), "Making requests" (Telegram Bot API), "Using Pre-Authenticated Requests" (Oracle), "Deploy
Hooks" (Vercel), "Push monitors" (Uptime Kuma).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

HIDDEN = "***"

Span = tuple[int, int]
"""Start and end of a part of a path."""

_KNOWN = (
    # After the workspace and the app, or the channel's webhook.
    ("slack.com", re.compile(r"/(?:services|workflows|triggers)/[^/]+/[^/]+/(.+)")),
    ("slack-gov.com", re.compile(r"/(?:services|workflows|triggers)/[^/]+/[^/]+/(.+)")),
    ("office.com", re.compile(r"/webhook[^/]*/(.+)")),
    ("office365.com", re.compile(r"/webhook[^/]*/(.+)")),
    ("telegram.org", re.compile(r"/(?:file/)?bot([^/]+)")),
    ("zapier.com", re.compile(r"/hooks/[^/]+/[^/]+/(.+)")),
    ("make.com", re.compile(r"/(.+)")),
    ("celonis.com", re.compile(r"/(.+)")),
    ("integromat.com", re.compile(r"/(.+)")),
    ("ifttt.com", re.compile(r".*/key/([^/]+)")),
    ("airtable.com", re.compile(r"/workflows/v1/genericWebhook/(.+)")),
    ("vercel.com", re.compile(r"/v1/integrations/deploy/[^/]+/([^/]+)")),
    ("netlify.com", re.compile(r"/build_hooks/([^/]+)")),
    ("pagerduty.com", re.compile(r"/integration/([^/]+)")),
    ("victorops.com", re.compile(r"/integrations/generic/[^/]+/alert/(.+)")),
    ("webhook.site", re.compile(r"/([^/]+)")),
    ("ntfy.sh", re.compile(r"/([^/]+)")),
    ("nosnch.in", re.compile(r"/([^/]+)")),
    ("hc-ping.com", re.compile(r"/([^/]+)(?:/([^/]+))?")),
    ("healthchecks.io", re.compile(r"/ping/([^/]+)(?:/([^/]+))?")),
    ("day.app", re.compile(r"/([^/]+)")),
    ("ftqq.com", re.compile(r"/([^/]+)")),
    # On any host: self-hosted servers, and the services that copied their paths.
    ("", re.compile(r"/api/(?:v[0-9]+/)?webhooks/[^/]+/([^/]+)")),
    ("", re.compile(r"/(?:file/)?bot[0-9]+(?::|%3[Aa])([^/]+)")),
    ("", re.compile(r"(?:/[^/]+)?/api/push/([^/]+)")),
)
"""Paths of popular services. The groups are credentials."""

_OBJECTS = (
    # Of Oracle's realms, and its custom domains. The rest is the name of an object.
    *((domain, re.compile(r"/p/([^/]+)")) for domain in ("oraclecloud.com", "oraclegovcloud.com", "customer-oci.com")),
    ("", re.compile(r"/p/([^/]+)/n/[^/]+/b/")),
)
"""Paths with a credential and the name of an object."""

_SEPARATOR = re.compile(r"[/;=:,]|%2[Ff]|%3[AaBbDd]")
"""What separates names and values in a path, also percent-encoded."""

_ENDINGS = ("token", "secret", "password", "passwd", "apikey", "accesskey", "authkey", "-key", "_key", "credential")
_NAMES = frozenset({"key", "auth", "jwt", "pass", "pwd", "sig", "signature"})
"""Names of credentials, and the endings of such names."""

_HOOKS = frozenset(
    {
        *("hook", "hooks", "webhook", "webhooks", "incoming", "integration", "integrations", "alert", "alerts"),
        *("catch", "deploy", "heartbeat", "notify", "ping", "push", "trigger", "triggers"),
    }
)
"""Words that precede a token, which may be short."""

_LOGIN = re.compile(r"[^/:@]*:[^/@]*@")
"""User and password, in the path of a mistyped URL."""

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_CHUNKS = re.compile(r"[A-Za-z0-9]+")

_UUID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)
_HEXADECIMAL = re.compile(r"[0-9a-f]+|[0-9A-F]+")

_MIN_LENGTH = 16
"""Minimum number of letters and digits of a random segment."""

_LONG = 20
"""Minimum length of an unbroken run of letters and digits that is random if it alternates at least three times."""

_MAX_WORD = 32

_MEAN_WORD = 3.5
"""Mean length of the words of a name in camel case. Those of random letters are shorter."""


def secrets_of(host: str, path: str, *, public_from: int | None = None) -> tuple[Span, ...]:
    """Return the parts of a path that are credentials, in order.

    Args:
        host: The host in lower case.
        path: The path with its leading slash.
        public_from: Where the name of an object begins, which is not secret; None if the path has no such name.
    """
    host = host.rstrip(".")
    if found := tuple(_merge(sorted(_find_in_table(host, path, _OBJECTS)))):
        return found
    end = len(path) if public_from is None else public_from
    if end == 0:
        return ()
    spans = sorted([*_find_in_table(host, path, _KNOWN), *_tokens(path), *_logins(path)])
    return tuple(_merge(span for span in spans if span[0] < end))


def without(path: str, spans: Iterable[Span]) -> str:
    """Replace the credentials in a path by asterisks."""
    shown, last = [], 0
    for start, end in spans:
        shown += [path[last:start], HIDDEN]
        last = end
    return "".join([*shown, path[last:]])


def _find_in_table(host: str, path: str, table: Iterable[tuple[str, re.Pattern[str]]]) -> Iterator[Span]:
    for domain, pattern in table:
        if (not domain or host == domain or host.endswith(f".{domain}")) and (found := pattern.match(path)):
            for group in range(1, (found.lastindex or 0) + 1):
                yield from _segments(path, *found.span(group))


def _segments(path: str, start: int, end: int) -> Iterator[Span]:
    """Yield the segments between two places of a path."""
    for segment in path[start:end].split("/"):
        if segment:
            yield start, start + len(segment)
        start += len(segment) + 1


def _merge(spans: Iterable[Span]) -> Iterator[Span]:
    """Join spans that overlap."""
    last: Span | None = None
    for start, end in spans:
        if last is not None and start < last[1]:
            last = last[0], max(end, last[1])
        else:
            if last is not None:
                yield last
            last = start, end
    if last is not None:
        yield last


def _tokens(path: str) -> Iterator[Span]:
    """Yield what follows the name of a credential, random texts, and texts after a hook that may be random."""
    is_named = is_hooked = False
    start = 0
    for separator in (*_SEPARATOR.finditer(path), None):
        end = len(path) if separator is None else separator.start()
        text = unquote(path[start:end])
        if text and (is_named or is_random(text) or (is_hooked and _is_mixed(text))):
            yield start, end
        # Not after "==", which pads base64, nor after "//".
        if text:
            is_named = _is_name(text)
            is_hooked = is_hooked or not _HOOKS.isdisjoint(word.lower() for word in _WORDS.findall(text))
        start = len(path) if separator is None else separator.end()


def _is_name(text: str) -> bool:
    """Return whether a text names a credential, as `access_token` does."""
    names = text.lower(), text.lower().removesuffix("s")
    return any(name in _NAMES or name.endswith(_ENDINGS) for name in names)


def _logins(path: str) -> Iterator[Span]:
    """Yield user and password of another URL in the path, as in `https://https://user:password@host`."""
    start, end = path.find("//"), path.rfind("@")
    if 0 <= start < end:
        yield start + 2, end
        return
    position = 0
    for segment in path.split("/"):
        if found := _LOGIN.match(segment):
            yield position, position + found.end() - 1
        position += len(segment) + 1


def _is_mixed(text: str) -> bool:
    """Return whether a text of some length alternates between letters and digits, or between lower and upper case."""
    chunks = _CHUNKS.findall(text)
    changes = sum(len(_WORDS.findall(chunk)) - 1 for chunk in chunks)
    # A name such as `step12` changes once, and one in camel case at each of its words.
    wanted = 1 if any(character.isdigit() for character in text) else 2
    return sum(map(len, chunks)) >= _MIN_LENGTH // 2 and changes > wanted


def is_random(text: str) -> bool:
    """Return whether a text looks like a random token rather than a name.

    Names separate words and numbers by hyphens or capitals. Random texts alternate between lower case, upper case and
    digits, mostly after one or two characters, without a separator. UUIDs and digests count as random too.
    """
    if len(text) < _MIN_LENGTH:
        return False
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
    short_words = words > 4 and words * _MEAN_WORD > len(chunk)
    return hexadecimal or short_words or (mixed and words > 3 and len(chunk) >= _LONG) or len(chunk) >= _MAX_WORD
