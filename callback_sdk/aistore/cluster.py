"""Hosts of an AIStore cluster: requests and token are sent to no others."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from callback_sdk.concurrency.forking import Lock
from callback_sdk.errors import ConfigurationError, InvalidTargetError
from callback_sdk.redaction import SecretURL
from callback_sdk.targets.hosts import port_of

_log = logging.getLogger(__name__)

MAP_PATH = "/v1/cluster?what=smap"

_MAP_INTERVAL = 10.0
"""Seconds before the map is fetched again for an unknown host, which may be a new node."""

_NETS = ("public_net", "intra_control_net", "intra_data_net")
"""A node's networks in the map, by their names in AIStore's `api/apc` and `core/meta`."""

Fetch = Callable[[str], bytes | None]
"""Fetches a URL of the proxy; returns None on failure."""


class Cluster:
    """The hosts of one cluster. Thread-safe.

    Args:
        endpoint: The proxy's URL, with `/s3` or without it.
        allow_hosts: Names or addresses of hosts besides the endpoint's own, with a port or for any port. The nodes of
            the cluster's map when None.

    Raises:
        ConfigurationError: The endpoint is not an http or https URL.
    """

    def __init__(self, endpoint: str, *, allow_hosts: Iterable[str] | None = None) -> None:
        if isinstance(allow_hosts, str):
            raise ConfigurationError("allow_hosts is a string, not a list.", hint=f"Give a list: [{allow_hosts!r}].")
        try:
            url = SecretURL(endpoint)
        except InvalidTargetError:
            url = SecretURL("")
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigurationError(
                "AIStore's endpoint is not a URL.", hint="Give scheme, host and port, such as http://aistore:8080."
            )
        self.endpoint = url
        self._allowed = None if allow_hosts is None else frozenset(host.lower() for host in allow_hosts)
        self._nodes: frozenset[tuple[str, int]] = frozenset()
        self._asked_at = float("-inf")
        self._lock = Lock()

    @property
    def root(self) -> str:
        """The proxy's URL without `/s3`."""
        return self.endpoint.bare.rstrip("/").removesuffix("/s3").rstrip("/")

    def has(self, url: SecretURL, fetch: Fetch = lambda url: None) -> bool:
        """Return whether a URL's host belongs to the cluster.

        Args:
            url: The URL.
            fetch: Fetches the cluster's map, if it is needed.
        """
        host, port = url.host.lower(), port_of(url)
        if host == self.endpoint.host.lower():
            return True
        if self._allowed is not None:
            name = f"[{host}]" if ":" in host else host
            return not self._allowed.isdisjoint({host, f"{name}:{port}"})
        return (host, port) in self._nodes or (host, port) in self._fetch_nodes(fetch)

    def _fetch_nodes(self, fetch: Fetch) -> frozenset[tuple[str, int]]:
        with self._lock:
            if time.monotonic() - self._asked_at > _MAP_INTERVAL:
                self._asked_at = time.monotonic()
                data = fetch(f"{self.root}{MAP_PATH}")
                try:
                    self._nodes = frozenset(_nodes(json.loads(data))) if data is not None else self._nodes
                except (ValueError, TypeError, AttributeError):
                    _log.warning("The map of the AIStore cluster at %s can't be read.", self.root)
            return self._nodes


def _nodes(smap: Any) -> Iterator[tuple[str, int]]:
    """Yield host and port of each network of each node of a cluster map, Smap in AIStore."""
    for kind in ("pmap", "tmap"):
        for node in (smap.get(kind) or {}).values():
            for net in _NETS:
                url = SecretURL((node.get(net) or {}).get("direct_url") or "")
                if url.host:
                    yield url.host.lower(), port_of(url)
