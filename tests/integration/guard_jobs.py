"""An algorithm for the tests of the address guard."""

from __future__ import annotations

from typing import Any

from callback_sdk.service import Registry

registry = Registry()


@registry.algorithm("one")
def one(features: Any, parameters: Any, context: Any) -> dict[str, Any]:
    return {"predictions": 1}
