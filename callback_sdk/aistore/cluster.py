"""Hosts of an AIStore cluster: credentials are sent to no others."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any, Literal, get_args

from callback_sdk.aistore.urls import server_url
from callback_sdk.concurrency.forking import Lock
from callback_sdk.errors import ConfigurationError, InvalidTargetError
from callback_sdk.parsing import several
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.targets.hosts import port_of
from callback_sdk.text.descriptions import short_repr

_log = logging.getLogger(__name__)

MAP_PATH = "/v1/cluster?what=smap"

_HIDDEN_FOR = 60.0
"""Seconds for which the map isn't asked for again with a token that may not see it."""

_ABSENT_FOR = 1.0
"""Seconds for which the map isn't asked for again for a host that it didn't have."""

_NETS = ("public_net", "intra_control_net", "intra_data_net")
"""A node's networks in the map, by their names in AIStore's `core/meta/smap.go`."""

_MORE_NETS = "pub_extra"
"""More public networks of a multihomed node, a list."""

Answer = tuple[int, bytes]
"""Status and body of a response; the status is 0 without a response."""

UnknownNodes = Literal["auto", "follow", "reject"]


class Trust(Enum):
    """What a host may get."""

    CREDENTIALS = "requests with credentials"
    REQUESTS = "requests without credentials"
    NOTHING = "nothing"


class Cluster:
    """The hosts of one cluster. Thread-safe.

    Args:
        endpoint: The proxy's URL, with `/s3` or without it.
        allow_hosts: Names or addresses of hosts besides the endpoint's own, with a port or for any port. The nodes of
            the cluster's map when None.
        unknown_nodes: What to do with redirects to other hosts: `follow` without credentials, `reject`, or `auto`,
            which follows them if the cluster's map can't be read.

    Raises:
        ConfigurationError: The endpoint is not an http or https URL, or another argument is invalid.
    """

    def __init__(
        self, endpoint: str, *, allow_hosts: Iterable[str] | None = None, unknown_nodes: UnknownNodes = "auto"
    ) -> None:
        if not isinstance(unknown_nodes, str) or unknown_nodes not in get_args(UnknownNodes):
            raise ConfigurationError(
                f"unknown_nodes is {short_repr(unknown_nodes)}.",
                hint=f"Give one of {', '.join(get_args(UnknownNodes))}.",
            )
        self.endpoint = server_url(endpoint, "AIStore", "http://aistore:8080", "AIS_ENDPOINT")
        self._allowed = None if allow_hosts is None else frozenset(map(_host, several("allow_hosts", allow_hosts)))
        self._unknown = unknown_nodes
        self._lock = Lock()
        self._nodes: frozenset[tuple[str, int]] = frozenset()
        self._absent: dict[tuple[str, int], float] = {}
        self._asked_at = float("-inf")
        self._hidden = False
        self._hidden_from: tuple[Secret[str] | None, float] = (None, float("-inf"))

    @property
    def root(self) -> str:
        """The proxy's URL without `/s3`."""
        return self.endpoint.bare.rstrip("/").removesuffix("/s3").rstrip("/")

    @property
    def map_url(self) -> str:
        """URL of the cluster's map."""
        return f"{self.root}{MAP_PATH}"

    def has(self, url: SecretURL) -> bool:
        """Return whether a URL's host is known to belong to the cluster."""
        host, port = url.host.lower(), port_of(url)
        if host == self.endpoint.host.lower():
            return True
        if self._allowed is not None:
            name = f"[{host}]" if ":" in host else host
            return not self._allowed.isdisjoint({host, f"{name}:{port}"})
        return (host, port) in self._nodes

    def trust(self, url: SecretURL, token: Secret[str] | None, ask: Callable[[], Answer]) -> Trust:
        """Return what a host may get that a proxy redirected to.

        Args:
            url: The URL of the redirect.
            token: The token that `ask` sends; None without one.
            ask: Requests the cluster's map, if it is needed.
        """
        if self.has(url):
            return Trust.CREDENTIALS
        hidden = self._allowed is None and self._refresh(url, token, ask)
        if self.has(url):
            return Trust.CREDENTIALS
        follow = self._unknown == "follow" or (self._unknown == "auto" and hidden)
        return Trust.REQUESTS if follow else Trust.NOTHING

    def _refresh(self, url: SecretURL, token: Secret[str] | None, ask: Callable[[], Answer]) -> bool:
        """Read the map for a host that isn't in it, and return whether it can't be read."""
        host, began = (url.host.lower(), port_of(url)), time.monotonic()
        with self._lock:
            self._absent = {key: end for key, end in self._absent.items() if end > began}
            # A map that was asked for while this thread waited is new enough.
            if (
                host not in self._nodes
                and self._asked_at < began
                and not self._is_refused(token)
                and host not in self._absent
            ):
                self._asked_at = time.monotonic()
                if self._read(*ask(), token) and host not in self._nodes:
                    self._absent[host] = time.monotonic() + _ABSENT_FOR
            return self._hidden

    def _is_refused(self, token: Secret[str] | None) -> bool:
        refused, end = self._hidden_from
        return token == refused and time.monotonic() < end

    def _read(self, status: int, body: bytes, token: Secret[str] | None) -> bool:
        """Read an answer, and return whether it is a map."""
        # Stores that aren't AIStore answer in XML.
        refused = status in (401, 403) and not body.lstrip().startswith(b"<")
        self._hidden = refused or status == 0 or status >= 500
        if refused:
            self._hidden_from = (token, time.monotonic() + _HIDDEN_FOR)
            return False
        try:
            self._nodes = frozenset(_nodes(json.loads(body if status == 200 else b"")))
        except (ValueError, TypeError, AttributeError, InvalidTargetError):
            _log.warning("The AIStore cluster at %s answered %d, and no map.", self.root, status)
            return False
        return True


def _nodes(smap: Any) -> Iterator[tuple[str, int]]:
    """Yield host and port of each network of each node of a cluster map, Smap in AIStore."""
    for kind in ("pmap", "tmap"):
        for node in (smap.get(kind) or {}).values():
            for net in (*map(node.get, _NETS), *(node.get(_MORE_NETS) or ())):
                url = SecretURL((net or {}).get("direct_url") or "")
                if url.host:
                    yield url.host.lower(), port_of(url)


def _host(value: object) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"allow_hosts has {short_repr(value)}.", hint="Give host names, without ports.")
    return value.lower()
