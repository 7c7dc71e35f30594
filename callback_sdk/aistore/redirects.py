"""Resolve and check AIStore's redirects; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from callback_sdk.errors import (
    InvalidTargetError,
    RedirectError,
    RedirectHostError,
    RedirectLoopError,
    TooManyRedirectsError,
)
from callback_sdk.redaction import SecretURL
from callback_sdk.targets.locations import redirected

STATUSES = frozenset({301, 302, 307, 308})
"""Redirects that keep method and body: in AIStore also 301 and 302, after which RFC 9110, section 15.4, lets clients
change POST to GET."""


def next_url(
    trail: Sequence[SecretURL], location: str | None, *, max_redirects: int, allowed: Callable[[SecretURL], bool]
) -> SecretURL:
    """Return the URL of a redirect, with an unchanged query: AIStore signs it.

    Args:
        trail: URLs that the request was sent to; at least one.
        location: Value of the header `Location`; None without one.
        max_redirects: Maximum number of redirects.
        allowed: Tells whether a host belongs to the cluster.

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
    if not allowed(target):
        raise RedirectHostError(
            f"{last} redirected to {target}, which is not a node of the cluster; nothing was sent there.",
            hint="If it is a node, add it: allow_hosts=[...].",
            urls=shown,
        )
    return target


def _target(last: SecretURL, location: str | None) -> SecretURL:
    if not location:
        raise RedirectError(
            f"{last} redirected without a Location.",
            hint="AWS does so for buckets of other regions, AIStore never does. Check the endpoint.",
            urls=(last.bare,),
        )
    try:
        return redirected(last, location)
    except InvalidTargetError:
        pass
    raise RedirectError(f"{last} redirected to an invalid URL.", hint="Check the endpoint.", urls=(last.bare,))
