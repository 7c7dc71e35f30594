"""AddressGuard: keeps uploads away from every address that is not public."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable
from typing import TypeVar

from attrs import define, field

from callback_sdk import dialing
from callback_sdk.addresses import (
    LOOPBACK,
    Address,
    Block,
    Network,
    ascii_host,
    embedded,
    is_local_name,
    literal,
    parse_network,
    special,
)
from callback_sdk.dialing import Addresses
from callback_sdk.errors import AddressNotAllowedError, ConfigurationError, InvalidTargetError
from callback_sdk.redaction import SecretURL

T = TypeVar("T")

_log = logging.getLogger(__name__)


def _networks(given: Iterable[str | Network]) -> tuple[Network, ...]:
    return tuple(_network(network) if isinstance(network, str) else network for network in _several(given))


def _network(text: str) -> Network:
    try:
        return parse_network(text)
    except ValueError:
        pass
    raise ConfigurationError(
        f"{text!r} is not a network.", hint="Give it in CIDR notation, such as 10.20.0.0/16, or a single address."
    )


def _hosts(given: Iterable[str]) -> frozenset[str]:
    return frozenset(_host(text) for text in _several(given))


def _host(text: str) -> str:
    prefix, name = ("*.", text.strip()[2:]) if text.strip().startswith("*.") else ("", text.strip())
    if name and not set(name) & set("/*:@?#[]% "):
        try:
            return prefix + _name(SecretURL(f"//{name}"))
        except InvalidTargetError:
            pass
    raise ConfigurationError(
        f"{text!r} is not the name of a host.",
        hint="Give it without scheme and port, such as minio.internal, or *.minio.internal for all below it.",
    )


def _name(url: SecretURL) -> str:
    return ascii_host(url).lower().removesuffix(".")


def _several(given: Iterable[T]) -> Iterable[T]:
    if isinstance(given, str):
        raise ConfigurationError(
            f"A list was wanted, and not the text {given!r}.", hint=f"Give [{given!r}]; the brackets were left out."
        )
    return given


@define(frozen=True, kw_only=True)
class AddressGuard:
    """Refuses hosts whose addresses are not public, so that a foreign URL can't reach into the own network.

    Every address that a name has must be public, and connections go to the very addresses that were checked: a
    name that answers another one later gains nothing. With a guard the environment's proxies are not used, as
    they would resolve names on their own.

    Args:
        allow_networks: Networks in CIDR notation that may be reached although they are not public. For an
            address of NAT64, 6to4 or Teredo its own network and the IPv4 address in it both count.
        allow_hosts: Names of hosts that may be reached whatever their addresses are; `*.minio.internal` means
            all names below it.

    Raises:
        ConfigurationError: One is no network or no name.

    Example:
        >>> ResultsWriter(guard=AddressGuard(allow_networks=["10.20.0.0/16"], allow_hosts=["minio.internal"]))
    """

    allow_networks: tuple[Network, ...] = field(default=(), converter=_networks)
    allow_hosts: frozenset[str] = field(default=(), converter=_hosts)

    def check(self, url: SecretURL) -> None:
        """Refuse what can be refused without the network: addresses in the URL itself, and the machine's own names.

        Raises:
            AddressNotAllowedError: The host is not public.
            InvalidTargetError: No host can have such a name.
        """
        host = _name(url)
        if self._allows(host):
            return
        address = literal(host)
        if is_local_name(host):
            if any(self._block(own) for own in LOOPBACK):
                raise _refusal(url, "is this machine itself", f"--allow-host {host}")
        elif address is not None:
            if "%" in host:
                raise _refusal(url, "has an address of one network interface", "--allow-network, without the '%'")
            if block := self._block(address):
                raise _refusal(url, f"is not public ({block.name})", f"--allow-network {_network_of(address, block)}")

    def resolve(self, url: SecretURL, until: float) -> Addresses:
        """Return the addresses of a URL's host when every one of them may be reached.

        Args:
            url: Where to.
            until: When to give up, by the monotonic clock.

        Raises:
            AddressNotAllowedError: One may not.
            OSError: The host has no address, or the system didn't answer in time.
        """
        self.check(url)
        found = dialing.resolve(url, until)
        host = _name(url)
        if self._allows(host):
            return found
        for *_, place in found:
            address = ipaddress.ip_address(str(place[0]).partition("%")[0])
            if block := self._block(address):
                # The error's text may go to a stranger, for whom a name inside must not lead to its address.
                _log.warning("%s leads to %s (%s): nothing is sent there.", url, address, block.name)
                raise _refusal(url, "leads to an address that is not public", f"--allow-host {host}")
        return found

    def _allows(self, host: str) -> bool:
        above = host.split(".")
        return host in self.allow_hosts or any(
            "*." + ".".join(above[depth:]) in self.allow_hosts for depth in range(1, len(above))
        )

    def _block(self, address: Address) -> Block | None:
        """Return why an address may not be reached; None when it may."""
        for each in (address, *embedded(address)):
            block = special(each)
            if block and not any(each in network for network in self.allow_networks):
                return block
        return None


def _network_of(address: Address, block: Block) -> str:
    if any(embedded(address)):
        return "with its network, and with that of the IPv4 address in it"
    return str(block.network if block.name == "loopback" else address)


def _refusal(url: SecretURL, problem: str, option: str) -> AddressNotAllowedError:
    return AddressNotAllowedError(
        f"{url} {problem}; nothing was sent.",
        hint=f"Give a public one, or let the service's operator allow it: {option} (in code: AddressGuard).",
        url=str(url),
    )
