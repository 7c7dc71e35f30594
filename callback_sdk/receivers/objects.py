"""BucketObject: the object that a notification of a bucket is about."""

from __future__ import annotations

from attrs import define


@define(frozen=True, kw_only=True)
class BucketObject:
    """An object in a bucket, as a notification names it.

    Attributes:
        bucket: Name of the bucket.
        key: The object's key, decoded.
        version_id: Its version in a versioned bucket; None in any other.
        etag: Its ETag, unquoted; None if the notification has none.
        size: Its size in bytes; None if the notification has none.
        sequencer: Orders the events of one key; None if the notification has none. See `is_newer_than`.
    """

    bucket: str
    key: str
    version_id: str | None = None
    etag: str | None = None
    size: int | None = None
    sequencer: str | None = None

    @property
    def place(self) -> str:
        """Bucket and key, as `s3://bucket/key`."""
        return f"s3://{self.bucket}/{self.key}"

    def is_newer_than(self, other: BucketObject) -> bool:
        """Return whether this is a later event of the same key; False for other keys, and without sequencers.

        Sequencers are hexadecimal numbers of different lengths. The shorter one is padded with zeros on its right
        ("Event message structure", Amazon S3 User Guide).
        """
        if self.place != other.place or self.sequencer is None or other.sequencer is None:
            return False
        return self.order > other.order

    @property
    def order(self) -> tuple[str, str]:
        """A key that sorts the events of each object by their age."""
        return self.place, (self.sequencer or "").rstrip("0").lower()
