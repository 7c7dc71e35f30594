"""An algorithm with large results, for the tests of multipart uploads; imported by the service itself."""

from __future__ import annotations

from callback_sdk.service import Registry

registry = Registry()


@registry.algorithm("large")
def large(size: int) -> str:
    """Return a text of a given size."""
    return "x" * size
