"""Encode Python, NumPy, pandas, Arrow and polars values as JSON, as specified in docs/values.md."""

from callback_sdk.documents.values.encoded import Encoded
from callback_sdk.documents.values.encoding import encode

__all__ = ["Encoded", "encode"]
