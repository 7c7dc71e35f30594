"""Values that are already encoded as JSON."""

from __future__ import annotations

from attrs import define


@define(frozen=True, eq=False, repr=False)
class EncodedValue:
    """The JSON of one value. Within another value, it is written unchanged.

    Attributes:
        parts: The JSON in parts, to be concatenated.
        nulls_written: Number of NaN, infinities and NaT that became null.
    """

    parts: tuple[bytes, ...]
    nulls_written: int

    @property
    def data(self) -> bytes:
        """The complete JSON."""
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
