"""The REST API, compatible with AI Core v2."""

from callback_sdk.service.api.access import ServiceLimits
from callback_sdk.service.api.app import create_app

__all__ = ["ServiceLimits", "create_app"]
