"""Proxies of the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY), as requests and curl read them.

The variables are not settings of this package, so they aren't read in `config`, which would load environ-config.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.errors import ConfigurationError, DeliveryError, InvalidTargetError
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.targets.hosts import Address, ip_literal, is_loopback, port_of
from callback_sdk.transport.sockets import proxy_headers

_CLIENT_KINDS = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
"""Schemes of proxies that requests supports; SOCKS with the package PySocks."""

_HINT = (
    "Set HTTP_PROXY, HTTPS_PROXY or ALL_PROXY to http://host:port, or to http://user:password@host:port with "
    "special characters encoded, such as %23 for #"
)


def environment_proxy(url: SecretURL) -> SecretURL | None:
    """Return the environment's proxy for a URL.

    Args:
        url: URL of an upload. Loopback addresses are never reached through a proxy.

    Returns:
        The proxy; None for a direct connection.

    Raises:
        DeliveryError: The proxy's scheme is not supported for uploads.
    """
    if (named := _named_proxy(url)) is None:
        return None
    proxy, problem = _read(named, ("http",))
    if problem:
        raise DeliveryError(
            f"The environment's proxy for {url} {problem}; nothing was sent.",
            hint=f"{_HINT}; or add the target's host to NO_PROXY.",
            url=str(url),
        )
    return proxy


def check_proxy(url: SecretURL) -> None:
    """Check that requests can use the environment's proxy for a URL, before it reads the variables itself.

    Args:
        url: The URL of a service.

    Raises:
        ConfigurationError: The proxy's URL is malformed, or its scheme is not supported.
    """
    if (named := _named_proxy(url)) is None:
        return
    _, problem = _read(named, _CLIENT_KINDS)
    if problem:
        raise ConfigurationError(
            f"The environment's proxy for {url} {problem}; nothing was sent.",
            hint=f"{_HINT}; or add the service's host to NO_PROXY.",
        )


def proxy_credentials(url: SecretURL) -> Secret[tuple[str, ...]]:
    """Return the credentials that are sent to the environment's proxy for a URL, which may quote them."""
    if is_direct(url) or (named := _named_proxy(url)) is None:
        return Secret(())
    proxy, _ = _read(named, _CLIENT_KINDS)
    return Secret(tuple(proxy_headers(proxy).reveal().values()))


def is_direct(url: SecretURL) -> bool:
    """Return whether a URL is reached directly: loopback addresses are those of this machine, not of the proxy's."""
    return is_loopback(url.host) or not any_proxy() or _is_excluded(url.host)


def _is_excluded(host: str) -> bool:
    """Return whether NO_PROXY has a network with an address; requests ignores IPv6 there (psf/requests issue 6313)."""
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
    """Return None: no proxy, regardless of the environment."""


def any_proxy() -> bool:
    """Return whether the environment names any proxy at all."""
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
    """Return a proxy, and the problem with it, or an empty string."""
    try:
        # Without a scheme it is an HTTP proxy, as curl(1) has it.
        proxy = SecretURL(named.reveal() if "://" in named.reveal() else f"http://{named.reveal()}")
    except InvalidTargetError:
        proxy = SecretURL("")
    # A path, query or fragment is rather the rest of a password with an unencoded /, ? or # (RFC 3986, section 3.2).
    if not proxy.host or proxy.request_target() != "/" or "#" in proxy.reveal():
        return proxy, "is not a URL"
    return proxy, "" if proxy.scheme in kinds else f"has the unsupported scheme {proxy.scheme}"
