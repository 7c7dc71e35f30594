"""The REST API, compatible with AI Core v2."""

from callback_sdk.service.api.access import Limits
from callback_sdk.service.api.app import create_app

__all__ = ["Limits", "create_app"]
