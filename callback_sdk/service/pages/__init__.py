"""The web UI of the service."""

from callback_sdk.service.pages.app import add_pages

__all__ = ["add_pages"]
