"""The web pages of the service: for people who look after tasks in a browser."""

from callback_sdk.service.pages.app import add_pages

__all__ = ["add_pages"]
