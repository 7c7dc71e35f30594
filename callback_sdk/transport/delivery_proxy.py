"""The proxy that all deliveries of a service or a writer go through, other than the proxies of the environment."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define

from callback_sdk.errors import ConfigurationError, InvalidTargetError
from callback_sdk.parsing import several
from callback_sdk.redaction import Secret, SecretURL, clearing_locals, wrap_secret
from callback_sdk.targets.hosts import ip_literal, is_loopback, port_of
from callback_sdk.text.descriptions import type_name
from callback_sdk.transport.allowlist import AllowedHost, AllowedNetwork, host_name


def read_proxy(given: str | Secret[str]) -> SecretURL:
    """Parse the URL of a proxy.

    Raises:
        ConfigurationError: It is not the URL of an HTTP proxy. The message doesn't contain it.
    """
    text = wrap_secret(given)
    try:
        proxy = SecretURL(text.reveal().strip() if isinstance(text.reveal(), str) else "")
    except InvalidTargetError:
        proxy = SecretURL("")
    # A path, query or fragment is rather the rest of a password with an unencoded /, ? or # (RFC 3986, section 3.2).
    is_origin = proxy.host and proxy.request_target() == "/" and "#" not in proxy.reveal() and proxy.port != 0
    if proxy.scheme == "http" and is_origin and not proxy.has_forbidden_characters:
        return proxy
    raise ConfigurationError(
        "The proxy for deliveries is not the URL of an HTTP proxy.",
        hint="Give http://host:port, or http://user:password@host:port with special characters encoded, such as %23 "
        "for #.",
    )


@define(frozen=True)
class DirectPlace:
    """Hosts that are reached directly, as NO_PROXY has them: a name and all names below it, or a network.

    Attributes:
        place: The host or network; None for every host.
        port: The port; None for every port.
    """

    place: AllowedHost | AllowedNetwork | None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> DirectPlace:
        """Parse `*`, `minio.internal`, `.internal`, `10.0.0.0/8` or `[fd00::/8]:9000`; each may have a port.

        Raises:
            ValueError: The text is none of these.
        """
        if text.strip() == "*":
            return cls(None)
        try:
            place: AllowedHost | AllowedNetwork = AllowedNetwork.parse(text)
        except ValueError:
            try:
                place = AllowedHost.parse(text.strip().removeprefix("."))
            except InvalidTargetError:
                raise ValueError(text) from None
        return cls(place, int(place.port) if place.port.isdigit() else None)

    def has(self, url: SecretURL) -> bool:
        """Return whether a URL is there."""
        if self.port is not None and self.port != port_of(url):
            return False
        if self.place is None:
            return True
        host, address = host_name(url), ip_literal(url.host)
        if isinstance(self.place, AllowedNetwork):
            return address is not None and address in self.place.network
        name = self.place.name.removeprefix("*.")
        return (host == name and name == self.place.name) or (address is None and host.endswith(f".{name}"))


def _place(given: str) -> DirectPlace:
    if not isinstance(given, str):
        raise ConfigurationError(
            f"direct has a value of type {type_name(given)}.", hint="Give strings such as 'minio.internal'."
        )
    try:
        return DirectPlace.parse(given)
    except ValueError:
        pass
    raise ConfigurationError(
        "direct has a value that is neither a host nor a network.",
        hint="Give names such as minio.internal, networks such as 10.0.0.0/8, either with a port, or *.",
    )


class DeliveryProxy:
    """A proxy that deliveries go through, with SSRF protection.

    The target's host is resolved and checked here, and the proxy is told to connect to the address that was checked
    (`CONNECT`, for https and http), so that it doesn't resolve the name again. TLS and `Host` keep the name. The proxy
    must permit `CONNECT` to the ports of the targets.

    Args:
        url: `http://host:port`, or `http://user:password@host:port`. The proxy's own address is not checked.
        direct: Hosts that are reached directly, as in NO_PROXY: names with all below them, networks, either with a
            port, or `*`. Loopback always is.
        resolves: Where names can't be resolved here: the proxy gets the names. It must reject private addresses then;
            only literal addresses are checked here.

    Raises:
        ConfigurationError: The URL is not that of an HTTP proxy, or a value of `direct` is invalid.
    """

    @clearing_locals
    def __init__(self, *, url: str | Secret[str], direct: Iterable[str] = (), resolves: bool = False) -> None:
        self.url = read_proxy(url)
        self.direct = tuple(_place(each) for each in several("direct", direct))
        self.resolves = resolves

    def __repr__(self) -> str:
        return f"DeliveryProxy({str(self.url)!r})"

    def of(self, url: SecretURL) -> SecretURL | None:
        """Return the proxy for a URL; None for a direct connection."""
        if is_loopback(url.host) or any(place.has(url) for place in self.direct):
            return None
        return self.url
