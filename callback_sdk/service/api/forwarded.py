"""Requests behind reverse proxies: address, scheme, host and path prefix, as trusted proxies tell them.

Sources: RFC 7239 (`Forwarded`); "X-Forwarded-Prefix" in the documentation of Traefik's middleware StripPrefix. The
other headers are a convention of reverse proxies: a proxy appends to `X-Forwarded-For`, and replaces the others or
appends to them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from attrs import define

from callback_sdk.config.values import is_path_prefix
from callback_sdk.service.api.client_addresses import Network, is_in

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

Headers = Sequence[tuple[bytes, bytes]]
"""Headers of a request, by their names in lower case."""

X_FORWARDED, FORWARDED = "x-forwarded", "forwarded"
"""The kinds of headers that a proxy may set. Only one counts, as a client can send those that the proxy doesn't set."""

_SCHEMES = ("http", "https")
_HOST = re.compile(r"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")

_PAIR = re.compile(r'[ \t]*([A-Za-z]{1,20})=("(?:[^"\\]|\\.)*"|[^\s",;]*)[ \t]*')


@define(frozen=True, kw_only=True)
class ForwardedRequest:
    """What trusted proxies tell about a request; None for what they don't tell, or is invalid."""

    client: str | None = None
    scheme: str | None = None
    host: str | None = None
    prefix: str | None = None


def read_x_forwarded(headers: Headers, trusted: Iterable[Network]) -> ForwardedRequest:
    """Read `X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix`.

    Args:
        headers: Headers of a request that a trusted proxy has sent.
        trusted: Networks of trusted proxies.
    """
    addresses = [_without_port(value) for value in _values(headers, b"x-forwarded-for")]
    hops = _hops(addresses, trusted)

    def of_client(name: bytes) -> str:
        # A proxy that appends has added one value; if it replaces, there is one in all.
        found = _values(headers, name)
        return found[-min(hops, len(found))] if found else ""

    prefix = of_client(b"x-forwarded-prefix").rstrip("/")
    return ForwardedRequest(
        client=addresses[-hops] if addresses else None,
        scheme=_scheme(of_client(b"x-forwarded-proto")),
        host=_host(of_client(b"x-forwarded-host")),
        prefix=prefix if is_path_prefix(prefix) else None,
    )


def read_forwarded(headers: Headers, trusted: Iterable[Network]) -> ForwardedRequest:
    """Read `Forwarded` (RFC 7239), which has an element for each proxy; see `read_x_forwarded`."""
    elements = [_parameters(text) for text in _elements(_join(headers, b"forwarded")) if text.strip()]
    if not elements:
        return ForwardedRequest()
    addresses = [_without_port(element.get("for", "unknown")) for element in elements]
    hops = _hops(addresses, trusted)
    element = elements[-hops]
    return ForwardedRequest(
        client=addresses[-hops], scheme=_scheme(element.get("proto", "")), host=_host(element.get("host", ""))
    )


READERS: dict[str, Callable[[Headers, Iterable[Network]], ForwardedRequest]] = {
    X_FORWARDED: read_x_forwarded,
    FORWARDED: read_forwarded,
}
"""Readers of headers, by their kind."""


class ForwardedRequests:
    """ASGI middleware around the whole application: shows it each request as the client sent it.

    A proxy may pass the path prefix on, or strip it. The prefix becomes the `root_path` of ASGI.

    Args:
        app: The application.
        trusted: Networks of trusted proxies. The headers of any other peer are ignored.
        root_path: Path prefix at which clients reach the service; empty for the one in `X-Forwarded-Prefix`.
        headers: Which headers the proxies set, `x-forwarded` or `forwarded`.
    """

    def __init__(
        self, app: ASGIApp, *, trusted: Sequence[Network], root_path: str = "", headers: str = X_FORWARDED
    ) -> None:
        self._app = app
        self._trusted = tuple(trusted)
        self._root_path = root_path
        self._read = READERS[headers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http":
            scope = self._as_sent(scope)
        await self._app(scope, receive, send)

    def _as_sent(self, scope: Scope) -> Scope:
        peer = scope.get("client")
        found = ForwardedRequest()
        if peer is not None and is_in(peer[0], self._trusted):
            found = self._read(scope["headers"], self._trusted)
        changed = dict(scope)
        if found.client is not None:
            # The port of the client's connection is not known.
            changed["client"] = (found.client, 0)
        if found.scheme is not None:
            changed["scheme"] = found.scheme
        if found.host is not None:
            others = [pair for pair in scope["headers"] if pair[0] != b"host"]
            changed["headers"] = [(b"host", found.host.encode()), *others]
        return _below(changed, self._root_path or found.prefix or "")


def _below(scope: Scope, prefix: str) -> Scope:
    """Return a request with a path prefix, which its path has, or a proxy has stripped."""
    path: str = scope["path"]
    if not prefix:
        return scope
    if path != prefix and not path.startswith(f"{prefix}/"):
        scope["path"] = prefix + path
        scope["raw_path"] = prefix.encode() + (scope.get("raw_path") or b"")
    elif path == prefix:
        scope["path"] = f"{prefix}/"
    scope["root_path"] = prefix
    return scope


def _hops(addresses: Sequence[str], trusted: Iterable[Network]) -> int:
    """Return the position of the client's address, counted from the end: the last one that is not a trusted proxy's."""
    networks = tuple(trusted)
    for hops, address in enumerate(reversed(addresses), 1):
        if not is_in(address, networks):
            return hops
    return max(1, len(addresses))


def _join(headers: Headers, name: bytes) -> str:
    """Return a header that may be there several times (RFC 9110, section 5.3)."""
    return ",".join(value.decode("latin-1") for key, value in headers if key == name)


def _values(headers: Headers, name: bytes) -> list[str]:
    return [value for part in _join(headers, name).split(",") if (value := part.strip())]


def _elements(text: str) -> Iterator[str]:
    """Split the value of `Forwarded` at commas outside of quotes."""
    start, quoted, escaped = 0, False, False
    for place, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            yield text[start:place]
            start = place + 1
    yield text[start:]


def _parameters(element: str) -> dict[str, str]:
    """Return the parameters of an element of `Forwarded`; none if it is malformed."""
    found: dict[str, str] = {}
    place = 0
    while place < len(element):
        pair = _PAIR.match(element, place)
        if pair is None or element[pair.end() : pair.end() + 1] not in ("", ";"):
            return {}
        found[pair[1].lower()] = _unquote(pair[2])
        place = pair.end() + 1
    return found


def _unquote(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _without_port(address: str) -> str:
    """Return an address without its port and brackets, as some proxies write it (RFC 7239, section 6)."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


def _scheme(text: str) -> str | None:
    return text.lower() if text.lower() in _SCHEMES else None


def _host(text: str) -> str | None:
    return text if _HOST.fullmatch(text) else None
