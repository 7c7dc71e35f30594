"""Encode Python, NumPy, pandas, Arrow and polars values as JSON, as specified in docs/values.md."""

from callback_sdk.documents.values.encoded import Encoded
from callback_sdk.documents.values.encoding import encode
from callback_sdk.documents.values.keys import key_text
from callback_sdk.documents.values.paths import member

__all__ = ["Encoded", "encode", "key_text", "member"]
