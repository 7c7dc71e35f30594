"""Deliver one result to its targets: plan, encode, send, retry, and return receipts."""

from callback_sdk.writer.writer import ResultsWriter

__all__ = ["ResultsWriter"]
