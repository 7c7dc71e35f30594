"""How targets are reached: the resolver of their names, and the proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callback_sdk.transport.connect import resolve
from callback_sdk.transport.proxies import environment_proxy
from callback_sdk.transport.sockets import Route

if TYPE_CHECKING:
    from callback_sdk.transport.delivery_proxy import DeliveryProxy
    from callback_sdk.transport.guard import AddressGuard


def route_of(guard: AddressGuard | None, proxy: DeliveryProxy | None) -> Route:
    """Return how targets are reached.

    Args:
        guard: SSRF protection. Without it and `proxy`, the environment's proxies are used.
        proxy: Proxy of all requests.
    """
    if proxy is not None:
        return Route(
            resolve=guard.resolve if guard else resolve,
            proxy=proxy.of,
            proxy_pinned=not proxy.resolves,
            check=guard.check if guard else lambda url: None,
        )
    return Route(resolve=guard.resolve) if guard else Route(resolve=resolve, proxy=environment_proxy)
