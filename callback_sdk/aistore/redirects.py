"""Where AIStore's redirects lead, and which of them are followed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urljoin

from callback_sdk.errors import (
    InvalidTargetError,
    RedirectError,
    RedirectHostError,
    RedirectLoopError,
    TooManyRedirectsError,
)
from callback_sdk.redaction import SecretURL

STATUSES = frozenset({301, 302, 307, 308})
"""Redirects that keep the method and the body, here as in AIStore, whatever a browser makes of 301 and 302."""


def next_url(
    trail: Sequence[SecretURL], location: str | None, *, most: int, allowed: Callable[[SecretURL], bool]
) -> SecretURL:
    """Return where a redirect leads, word by word: AIStore signs the query.

    Args:
        trail: Where the request went so far; at least one URL.
        location: The header of the last answer; None when there was none.
        most: How many redirects are followed.
        allowed: Tells whether a host may get the request.

    Raises:
        RedirectError: It is not followed.
    """
    last = trail[-1]
    target = _target(last, location)
    shown = (*(url.bare for url in trail), target.bare)
    if target.scheme not in ("http", "https") or not target.host:
        raise RedirectError(
            f"{last} redirected to {target}, which is neither http nor https.",
            hint="See what answers at the endpoint: AIStore redirects to its own nodes.",
            urls=shown,
        )
    if last.scheme == "https" and target.scheme == "http":
        raise RedirectHostError(
            f"{last} redirected to {target}, which is not encrypted.",
            hint="Let all nodes of the cluster speak TLS.",
            urls=shown,
        )
    if target == last or target.bare in [url.bare for url in trail[:-1]]:
        raise RedirectLoopError(
            f"{last} redirected to {target}, where the request was already: {' -> '.join(shown)}.",
            hint="Give the proxy's URL as the endpoint, and see that proxy and nodes agree on the cluster's map.",
            urls=shown,
        )
    if len(trail) > most:
        raise TooManyRedirectsError(
            f"{trail[0]} redirected more than {most} times: {' -> '.join(shown)}.",
            hint="See why the nodes pass it on; max_redirects= allows more.",
            urls=shown,
        )
    if not allowed(target):
        raise RedirectHostError(
            f"{last} redirected to {target}, which is no node of the cluster; nothing was sent there.",
            hint="If it is one, name it: allow_hosts=[...].",
            urls=shown,
        )
    return target


def _target(last: SecretURL, location: str | None) -> SecretURL:
    if not location:
        raise RedirectError(
            f"{last} redirected without saying where to.",
            hint="AWS does so for buckets of other regions; AIStore never does. See what the endpoint is.",
            urls=(last.bare,),
        )
    try:
        return SecretURL(urljoin(last.reveal(), location))
    except (InvalidTargetError, ValueError):
        pass
    raise RedirectError(
        f"{last} redirected to something that is no URL.", hint="See what the endpoint is.", urls=(last.bare,)
    )
