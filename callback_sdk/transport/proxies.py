"""Which proxy the environment names for a URL, as requests and curl read it.

These variables belong to every program, and not to this package: so they are read here and not with the settings,
whose library would be loaded for them.
"""

from __future__ import annotations

import ipaddress

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.errors import DeliveryError, InvalidTargetError
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.targets.providers import port_of
from callback_sdk.transport.addresses import Address, is_loopback, literal


def environment_proxy(url: SecretURL) -> SecretURL | None:
    """Return the proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY name for a URL.

    Args:
        url: Where an upload goes to. The machine itself is never reached through a proxy.

    Returns:
        The proxy; None for a direct connection.

    Raises:
        DeliveryError: The proxy is of a kind that uploads can't go through.
    """
    if is_loopback(url.host) or not any_proxy() or is_excluded(url.host):
        return None
    with no_fork:
        from requests.utils import get_environ_proxies, select_proxy

    host = f"[{url.host}]" if ":" in url.host else url.host
    place = f"{url.scheme}://{host}:{port_of(url)}/"
    return _proxy(Secret(select_proxy(place, get_environ_proxies(place))), url)


def is_excluded(host: str) -> bool:
    """Tell whether NO_PROXY names a network that an address is in: requests knows IPv4 ones only (its issue 6313)."""
    with no_fork:
        from urllib.request import getproxies

    address = literal(host)
    networks = [entry.strip() for entry in getproxies().get("no", "").split(",") if "/" in entry]
    return address is not None and any(_holds(network, address) for network in networks)


def _holds(network: str, address: Address) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def direct(url: SecretURL) -> None:
    """Return no proxy, whatever the environment says."""


def any_proxy() -> bool:
    """Tell whether the environment names any proxy at all."""
    with no_fork:
        from urllib.request import getproxies

    return bool(getproxies().keys() - {"no"})


def _proxy(text: Secret[str | None], url: SecretURL) -> SecretURL | None:
    if not text.reveal():
        return None
    try:
        # Without a scheme it is an HTTP proxy, by custom.
        proxy = SecretURL(("" if "://" in str(text.reveal()) else "http://") + str(text.reveal()))
    except InvalidTargetError:
        proxy = SecretURL("")
    if proxy.scheme == "http" and proxy.host:
        return proxy
    problem = f"is a proxy of the kind {proxy.scheme}" if proxy.host else "can't be read as a URL"
    raise DeliveryError(
        f"What the environment names as the proxy for {url} {problem}; nothing was sent.",
        hint="Set HTTP_PROXY, HTTPS_PROXY or ALL_PROXY to http://host:port, or the target's host in NO_PROXY.",
        url=str(url),
    )
