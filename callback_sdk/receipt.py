"""Receipt: proof that one target has the result. It is below the errors, which carry the receipts of other targets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import asdict, define, field

from callback_sdk.text.html import HTMLRepr

_RENAMED = {"kind": "target_kind", "nulled": "nulls_written"}
"""Members of the wire form by their earlier names, which receipts in an outbox may still have."""


@define(frozen=True, kw_only=True)
class Receipt(HTMLRepr):
    """Proof that one target has the result.

    Attributes:
        target_kind: Kind of the target, such as `"s3-put"`.
        url: URL of the target without its query.
        status: HTTP status of the response that confirmed it.
        attempts: Number of attempts, at least 1.
        etag: ETag of the object, unquoted; None from a webhook.
        version_id: Version id of the object in a versioned bucket, otherwise None.
        size: Size in bytes of the document as it is stored, after compression.
        sha256: Hex digest of these bytes.
        nulls_written: Number of NaN, infinities and NaT that became null, as JSON can't represent them.
        started_at: Start of the first attempt, in UTC.
        finished_at: Time when the target confirmed the document, in UTC.
        outputs: Receipts of the output files that the document lists, by name; a receipt of a file has none.
    """

    target_kind: str
    url: str
    status: int
    attempts: int = 1
    etag: str | None = None
    version_id: str | None = None
    size: int
    sha256: str
    nulls_written: int = 0
    started_at: datetime
    finished_at: datetime
    outputs: Mapping[str, Receipt] = field(factory=dict)

    def _html_fields(self) -> dict[str, Any]:
        return {
            "target kind": self.target_kind,
            "url": self.url,
            "status": self.status,
            "attempts": self.attempts,
            "bytes": self.size,
            "etag": self.etag,
            "version id": self.version_id,
            "sha256": self.sha256,
            "nulls_written": self.nulls_written or None,
            "finished at": self.finished_at,
            "output files": len(self.outputs) or None,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the wire form: times as ISO 8601 strings, and `outputs` only if there are any."""
        plain = asdict(
            self,
            filter=lambda attribute, value: attribute.name != "outputs",
            value_serializer=lambda _, __, value: value.isoformat() if isinstance(value, datetime) else value,
        )
        outputs = {name: receipt.to_dict() for name, receipt in self.outputs.items()}
        return {**plain, "outputs": outputs} if outputs else plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Receipt:
        """Read the wire form, or a receipt that was stored before members were renamed; ignore unknown members."""
        renamed = {new: data[old] for old, new in _RENAMED.items() if old in data}
        known = {name: data[name] for name in cls.__annotations__ if name in data}
        for name in ("started_at", "finished_at"):
            known[name] = datetime.fromisoformat(known[name])
        known["outputs"] = {name: cls.from_dict(receipt) for name, receipt in data.get("outputs", {}).items()}
        return cls(**renamed | known)
