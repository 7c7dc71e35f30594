"""The names and call forms that scripts written for the AI platform's SDK (COMPREDICT-AI-SDK 2.1) use.

    from callback_sdk import compat as api

    client = api.get_instance(token=token)

New code uses `callback_sdk.Client`. Remaining differences are listed in docs/migrating.md.
"""

from __future__ import annotations

from callback_sdk.compat.client import PlatformClient
from callback_sdk.compat.failures import LastError
from callback_sdk.compat.instances import get_instance
from callback_sdk.compat.resources import PlatformAlgorithm, PlatformTask, PlatformVersion

__all__ = [
    "LastError",
    "PlatformAlgorithm",
    "PlatformClient",
    "PlatformTask",
    "PlatformVersion",
    "get_instance",
]
