"""Which proxy the environment names for a URL, as requests and curl read it.

These variables belong to every program, and not to this package: so they are read here and not with the settings,
whose library would be loaded for them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.errors import ConfigurationError, DeliveryError, InvalidTargetError
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.targets.hosts import Address, ascii_host, ip_literal, is_loopback, port_of

_CLIENT_KINDS = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
"""Kinds of proxies that requests goes through; SOCKS with the package PySocks."""

_HINT = (
    "Set HTTP_PROXY, HTTPS_PROXY or ALL_PROXY to http://host:port, or to http://user:password@host:port with "
    "special characters encoded, such as %23 for #"
)


def environment_proxy(url: SecretURL) -> SecretURL | None:
    """Return the proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY name for a URL.

    Args:
        url: Where an upload goes to. The machine itself is never reached through a proxy.

    Returns:
        The proxy; None for a direct connection.

    Raises:
        DeliveryError: The proxy is of a kind that uploads can't go through.
    """
    if (named := _named_proxy(url)) is None:
        return None
    proxy, problem = _read(named, ("http",))
    if problem:
        raise DeliveryError(
            f"What the environment names as the proxy for {url} {problem}; nothing was sent.",
            hint=f"{_HINT}, or the target's host in NO_PROXY.",
            url=str(url),
        )
    return proxy


def check_proxy(url: SecretURL) -> None:
    """Make sure that requests can use the proxy that the environment names for a URL, before it reads that itself.

    Args:
        url: The URL of a service.

    Raises:
        ConfigurationError: It can't.
    """
    if (named := _named_proxy(url)) is None:
        return
    _, problem = _read(named, _CLIENT_KINDS)
    if problem:
        raise ConfigurationError(
            f"What the environment names as the proxy for {url} {problem}; nothing was sent.",
            hint=f"{_HINT}, or the service's host in NO_PROXY.",
        )


def is_direct(url: SecretURL) -> bool:
    """Tell whether no proxy may be asked for a URL: no proxy reaches this machine's own loopback addresses."""
    return is_loopback(url.host) or not any_proxy() or _is_excluded(url.host)


def _is_excluded(host: str) -> bool:
    """Tell whether NO_PROXY names a network that an address is in: requests knows IPv4 ones only (its issue 6313)."""
    with no_fork:
        from urllib.request import getproxies

    address = ip_literal(host)
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


def _named_proxy(url: SecretURL) -> Secret[str] | None:
    if is_direct(url):
        return None
    with no_fork:
        from requests.utils import get_environ_proxies, select_proxy

    host = f"[{url.host}]" if ":" in url.host else url.host
    place = f"{url.scheme}://{host}:{port_of(url)}/"
    named = Secret(select_proxy(place, get_environ_proxies(place)) or "")
    return named if named.reveal() else None


def _read(named: Secret[str], kinds: Collection[str]) -> tuple[SecretURL, str]:
    """Return a proxy, and what is wrong with it, or nothing."""
    try:
        # Without a scheme it is an HTTP proxy, by custom.
        proxy = SecretURL(named.reveal() if "://" in named.reveal() else f"http://{named.reveal()}")
        ascii_host(proxy)
    except InvalidTargetError:
        proxy = SecretURL("")
    # What follows the host is rather a password that has one of / ? # in it.
    if not proxy.host or proxy.request_target() != "/" or "#" in proxy.reveal():
        return proxy, "can't be read as a URL"
    return proxy, "" if proxy.scheme in kinds else f"is a proxy of the kind {proxy.scheme}"
