"""Encode Python, NumPy, pandas, Arrow and polars values as JSON, as specified in docs/values.md."""

from callback_sdk.documents.values.encoded import EncodedValue
from callback_sdk.documents.values.encoding import encode

__all__ = ["EncodedValue", "encode"]
