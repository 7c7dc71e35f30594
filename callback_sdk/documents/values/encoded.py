"""JSON that is made already."""

from __future__ import annotations

from attrs import define


@define(frozen=True)
class Encoded:
    """JSON of one value. As a part of another value, it is written as it is.

    Attributes:
        parts: The JSON, in pieces.
        nulls_written: How many NaN, infinite numbers and NaT became null in it.
    """

    parts: tuple[bytes, ...]
    nulls_written: int

    @property
    def data(self) -> bytes:
        """The JSON as a whole."""
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
