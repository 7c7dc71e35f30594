"""Resolve and check AIStore's redirects; pure.

The cluster's map, which names the nodes, comes from the proxy that redirects. So it protects against mistakes, and not
against a proxy in the hands of somebody else, who has token and data already. A host that isn't in the map gets no
credentials, and no request but the one that the caller made: the same method for the same path, and not at an address
at which only this machine is.
"""

from __future__ import annotations

from collections.abc import Sequence

from callback_sdk.errors import (
    AddressNotAllowedError,
    InvalidTargetError,
    RedirectError,
    RedirectHostError,
    RedirectLoopError,
    TooManyRedirectsError,
)
from callback_sdk.redaction import SecretURL
from callback_sdk.targets.hosts import is_loopback
from callback_sdk.targets.locations import resolve_location
from callback_sdk.transport.guard import AddressGuard

STATUSES = frozenset({301, 302, 307, 308})
"""Redirects that keep method and body: in AIStore also 301 and 302, after which RFC 9110, section 15.4, lets clients
change POST to GET."""

_NODES = AddressGuard(
    allow_networks=("10.0.0.0/8:*", "172.16.0.0/12:*", "192.168.0.0/16:*", "100.64.0.0/10:*", "[fc00::/7]:*")
)
"""Addresses of nodes: public and private ones, without those of the metadata services of clouds."""

_LOCAL_NODES = AddressGuard(allow_networks=(*_NODES.allow_networks, "127.0.0.0/8:*", "[::1]:*"))


def next_url(trail: Sequence[SecretURL], location: str | None, *, max_redirects: int) -> SecretURL:
    """Return the URL of a redirect, with an unchanged query: AIStore signs it.

    Args:
        trail: URLs that the request was sent to; at least one.
        location: Value of the header `Location`; None without one.
        max_redirects: Maximum number of redirects.

    Raises:
        RedirectError: The redirect is not followed.
    """
    last = trail[-1]
    target = _target(last, location)
    shown = (*(url.bare for url in trail), target.bare)
    if target.scheme not in ("http", "https") or not target.host:
        raise RedirectError(
            f"{last} redirected to {target}, which is neither http nor https.",
            hint="Check which server responds at the endpoint: AIStore redirects to its own nodes.",
            urls=shown,
        )
    if last.scheme == "https" and target.scheme == "http":
        raise RedirectHostError(
            f"{last} redirected to {target}, which is not encrypted.",
            hint="Enable TLS on all nodes of the cluster.",
            urls=shown,
        )
    if target == last or target.bare in [url.bare for url in trail[:-1]]:
        raise RedirectLoopError(
            f"{last} redirected to {target}, where the request came from: {' -> '.join(shown)}.",
            hint="Use the proxy's URL as the endpoint, and check that proxy and nodes have the same cluster map.",
            urls=shown,
        )
    if len(trail) > max_redirects:
        raise TooManyRedirectsError(
            f"{trail[0]} redirected more than {max_redirects} times: {' -> '.join(shown)}.",
            hint="Check why the nodes redirect to each other. max_redirects= allows more.",
            urls=shown,
        )
    return target


def check_unknown(trail: Sequence[SecretURL], target: SecretURL) -> None:
    """Check a redirect to a host that isn't known to belong to the cluster.

    Args:
        trail: See `next_url`.
        target: The URL of the redirect.

    Raises:
        RedirectHostError: The redirect is not one from a proxy to a node.
    """
    if target.path != trail[-1].path:
        raise host_error(trail, target, "for another path, as AIStore never does")
    guard = _LOCAL_NODES if is_loopback(trail[0].host) else _NODES
    try:
        guard.check(target)
    except (AddressNotAllowedError, InvalidTargetError):
        pass
    else:
        return
    raise host_error(trail, target, "where no node is")


def host_error(trail: Sequence[SecretURL], target: SecretURL, reason: str) -> RedirectHostError:
    """Return the error for a redirect to a host that gets no request."""
    return RedirectHostError(
        f"{trail[-1]} redirected to {target}, {reason}; nothing was sent there.",
        hint="If it is a node, add it: allow_hosts=[...].",
        urls=(*(url.bare for url in trail), target.bare),
    )


def _target(last: SecretURL, location: str | None) -> SecretURL:
    if not location:
        raise RedirectError(
            f"{last} redirected without a Location.",
            hint="AWS does so for buckets of other regions, AIStore never does. Check the endpoint.",
            urls=(last.bare,),
        )
    try:
        return resolve_location(last, location)
    except InvalidTargetError:
        pass
    raise RedirectError(f"{last} redirected to an invalid URL.", hint="Check the endpoint.", urls=(last.bare,))
