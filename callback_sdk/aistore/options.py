"""Options for redirects, with their environment variables."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define

from callback_sdk.aistore.cluster import Cluster, UnknownNodes
from callback_sdk.config.aistore import AIStoreConfig


@define(frozen=True)
class Redirects:
    """Which redirects are followed.

    Attributes:
        allow_hosts: Hosts besides the endpoint's own; those of the cluster's map when None.
        max_redirects: Maximum number of redirects of one request.
        unknown_nodes: What to do with redirects to other hosts.
    """

    allow_hosts: Iterable[str] | None
    max_redirects: int
    unknown_nodes: UnknownNodes

    @classmethod
    def of(
        cls, allow_hosts: Iterable[str] | None, max_redirects: int | None, unknown_nodes: UnknownNodes | None
    ) -> Redirects:
        """Complete arguments with the environment.

        Raises:
            ConfigurationError: A variable has an invalid value.
        """
        config = AIStoreConfig.from_environ()
        return cls(
            config.aistore_allow_hosts or None if allow_hosts is None else allow_hosts,
            config.aistore_max_redirects if max_redirects is None else max_redirects,
            unknown_nodes or config.aistore_unknown_nodes,
        )

    def cluster(self, endpoint: str) -> Cluster:
        """Return the cluster at an endpoint.

        Raises:
            ConfigurationError: The endpoint is not a URL, or an option is invalid.
        """
        return Cluster(endpoint, allow_hosts=self.allow_hosts, unknown_nodes=self.unknown_nodes)
