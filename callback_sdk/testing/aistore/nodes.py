"""Nodes of the fake AIStore, and the map of the cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from attrs import define


@define
class Node:
    """A proxy or a storage node.

    Attributes:
        name: Its id in the map.
        kind: `proxy` or `target`.
        urls: Its public URL; on a multihomed machine followed by others.
        redirects_left: Redirects to this node, which was killed, until the proxies notice; None if it is alive.
        served: Number of redirects to it, to choose one of its URLs in turn.
    """

    name: str
    kind: str
    urls: tuple[str, ...]
    redirects_left: int | None = None
    served: int = 0

    def next_url(self) -> str:
        """Return the URL for the next redirect: each in turn."""
        self.served += 1
        return self.urls[self.served % len(self.urls)]

    def to_map(self) -> dict[str, Any]:
        """Return the node as the map has it."""
        nets = [_net(url) for url in self.urls]
        known: dict[str, Any] = {"daemon_id": self.name, "daemon_type": self.kind}
        for name in ("public_net", "intra_control_net", "intra_data_net"):
            known[name] = nets[0]
        return known | ({"pub_extra": nets[1:]} if nets[1:] else {})


def cluster_map(nodes: Iterable[Node], version: int) -> dict[str, Any]:
    """Return the map of the cluster, Smap in AIStore."""
    described = [node.to_map() for node in nodes]
    proxies = {node["daemon_id"]: node for node in described if node["daemon_type"] == "proxy"}
    targets = {node["daemon_id"]: node for node in described if node["daemon_type"] == "target"}
    primary = next(iter(proxies.values()), None)
    return {"pmap": proxies, "tmap": targets, "proxy_si": primary, "version": str(version)}


def _net(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    return {"node_ip_addr": parts.hostname or "", "daemon_port": str(parts.port), "direct_url": url}
