"""Targets whose document takes several requests: which these are, and what the responses to them mean; pure.

`callback_sdk/writer/multipart.py` makes the requests: it sends the parts, completes the upload, and verifies that if
the response was lost; or it starts a session, and sends the document in consecutive ranges. It aborts what can't be
completed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Protocol

from attrs import define

from callback_sdk.documents.body import Body
from callback_sdk.errors import DeliveryError, ResultTooLargeError
from callback_sdk.targets.target import Target
from callback_sdk.targets.upload import Upload


class StoreResponse(Protocol):
    """What a target sees of a response.

    Attributes:
        status: HTTP status.
        headers: First value of each field, by lower-case name.
        body: Its first 64 KiB.
    """

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...


@define(frozen=True)
class PartRange:
    """A part of a document.

    Attributes:
        number: Its number, from 1.
        start: Where it begins.
        size: Its bytes.
    """

    number: int
    start: int
    size: int


@define(frozen=True, kw_only=True)
class MultipartTarget(Target):
    """A target whose document takes several requests.

    Attributes:
        part_size: Bytes of each part but the last one.
        max_parts: Maximum number of parts.
    """

    max_bytes = None
    # The encoding of the object is that of the request which starts the upload, and may have been sent.
    compressible = False
    needs_digest: ClassVar[bool] = False
    """Whether requests need the SHA-256 of the document."""

    part_size: int
    max_parts: int

    def in_parts(self, size: int, encoding: str | None) -> Target | None:
        """See `Target.in_parts`."""
        return self

    def check_limits(self, *, now: datetime, size: int | None) -> None:
        """See `Target.check_limits`."""
        Target.check_limits(self, now=now, size=size)
        most = self.max_parts * self.part_size
        if size is not None and size > most:
            raise ResultTooLargeError(
                f"{self.subject} has {size} bytes, and {self.callback.url} takes at most {most}: {self.max_parts} "
                f"parts of {self.part_size} bytes.",
                hint="Presign more parts, or larger ones: S3Signer(bucket).presign_multipart(key, max_bytes=...).",
                url=str(self.callback.url),
            )

    def upload_key(self) -> str:
        """Return what tells this upload from others: parts of another one, or of another size, aren't stored in it."""
        return str(self.part_size)

    def ranges(self, size: int) -> list[PartRange]:
        """Return the parts of a document, all of the same size but the last one; of an empty one, one without bytes.

        Args:
            size: Bytes of the document.
        """
        starts = range(0, max(size, 1), self.part_size)
        return [PartRange(number, start, min(self.part_size, size - start)) for number, start in enumerate(starts, 1)]

    def part(self, part: PartRange, document: Body, *, now: datetime) -> Upload:
        """Return the request that sends a part.

        Args:
            part: From `ranges`.
            document: The whole document.
            now: The time of sending.

        Raises:
            TargetError: The target would reject it.
        """
        raise NotImplementedError

    def part_identity(self, part: PartRange, response: StoreResponse) -> str:
        """Return what the completion needs of the response to a part, such as its ETag.

        Raises:
            DeliveryError: The response doesn't have it.
        """
        raise NotImplementedError

    def completion(self, document: Body, stored: Sequence[str], *, now: datetime) -> Upload:
        """Return the request that completes the upload.

        Args:
            document: The whole document.
            stored: What `stored` returned for each part, in their order.
            now: The time of sending.
        """
        raise NotImplementedError

    def confirms(self, response: StoreResponse) -> bool:
        """Return whether a response with a status of success says that the object exists."""
        return True

    def etag(self, response: StoreResponse) -> str:
        """Return the ETag of the object in a response that confirms it; empty without one."""
        return response.headers.get("etag", "")

    def verification(self, *, now: datetime) -> Upload | None:
        """Return the request that tells which object exists; None without one."""
        return None

    def may_exist(self, error: DeliveryError) -> bool:
        """Return whether an error may come from an upload that an earlier attempt has completed."""
        return False

    def has_lost_parts(self, error: DeliveryError) -> bool:
        """Return whether an error says that a part which was stored isn't there, so that all must be sent again."""
        return False

    def is_stored(self, response: StoreResponse, document: Body, stored: Sequence[str]) -> bool:
        """Return whether the response to `verification` shows that the object is the document.

        Args:
            response: The response.
            document: The whole document.
            stored: What `stored` returned for each part; empty if this attempt didn't send all of them.
        """
        return False

    def abort(self, *, now: datetime) -> Upload | None:
        """Return the request that discards the parts of an upload that is not completed; None without one."""
        return None


class SessionTarget(MultipartTarget):
    """A target whose document goes through a session in consecutive ranges, of which the store tells what it has."""

    @property
    def is_own(self) -> bool:
        """Whether each attempt starts a session, so that an upload that failed is of no use to the next one."""
        raise NotImplementedError

    def start(self, document: Body, *, now: datetime) -> Upload | None:
        """Return the request that starts the session; None if it was given."""
        raise NotImplementedError

    def with_session(self, response: StoreResponse) -> SessionTarget:
        """Return the target with the session in the response to `start`.

        Raises:
            DeliveryError: The response has none that may be used.
        """
        raise NotImplementedError

    def query(self, document: Body, *, now: datetime) -> Upload:
        """Return the request that asks how much of the document is stored."""
        raise NotImplementedError

    def send_from(self, start: int, document: Body, *, now: datetime) -> Upload:
        """Return the request that sends the document from a byte on, at most `part_size` bytes of it.

        Args:
            start: How many bytes are stored.
            document: The whole document.
            now: The time of sending.
        """
        raise NotImplementedError

    def progress(self, response: StoreResponse, document: Body) -> int | None:
        """Return how many bytes of the document the session has; None if the response doesn't tell.

        Raises:
            DeliveryError: It has more than the document.
        """
        raise NotImplementedError

    def check_stored(self, response: StoreResponse, document: Body) -> None:
        """Check that a completed session stored this document, as far as the response tells.

        Raises:
            DeliveryError: It stored another one.
        """
        raise NotImplementedError
