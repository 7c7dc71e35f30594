"""What values of any library become in JSON, by the table in docs/values.md."""

from callback_sdk.values.encoded import Encoded
from callback_sdk.values.encoding import encode
from callback_sdk.values.keys import key_text
from callback_sdk.values.paths import member

__all__ = ["Encoded", "encode", "key_text", "member"]
