"""Sessions of Google's resumable uploads, written from "Perform resumable uploads" in Google's documentation."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import threading

from attrs import define, field

from tests.checkers.http_store import Answer, Refusal, Request

UNIT = 256 * 1024
"""Bytes of which Google stores whole multiples only, until the upload is complete."""

WHOLE = re.compile(r"bytes (?:([0-9]+)-([0-9]+)|\*)/([0-9]+)")


@define
class Session:
    """One upload.

    Attributes:
        name: Bucket and name of its object.
        stored: The bytes that it has.
        is_complete: Whether the object exists.
        is_canceled: Whether the upload was canceled.
    """

    name: str
    stored: bytearray = field(factory=bytearray)
    is_complete: bool = False
    is_canceled: bool = False


class Sessions:
    """The sessions of a store.

    Args:
        objects: The objects of the store, by bucket and name.

    Attributes:
        all: Sessions by their ids.
    """

    def __init__(self, objects: dict[str, bytes]) -> None:
        self._objects = objects
        self._lock = threading.Lock()
        self.all: dict[str, Session] = {}

    def start(self, name: str) -> str:
        """Start a session, and return its id."""
        upload_id = secrets.token_urlsafe(60)
        self.all[upload_id] = Session(name)
        return upload_id

    def take(self, request: Request, upload_id: str) -> Answer:
        """Take a request to a session.

        Raises:
            Refusal: The session doesn't exist, has ended, or can't take the range.
        """
        with self._lock:
            session = self.all.get(upload_id)
            if session is None:
                raise Refusal(404, "")
            if session.is_canceled:
                raise Refusal(499, "")
            if request.method == "DELETE":
                session.is_canceled = True
                raise Refusal(499, "")
            return self._put(session, request)

    def _put(self, session: Session, request: Request) -> Answer:
        match = WHOLE.fullmatch(request.headers.get("content-range", ""))
        length = int(request.headers.get("content-length", 0))
        if match is None or length != (int(match[2]) - int(match[1]) + 1 if match[1] else 0):
            raise Refusal(400, "InvalidArgument")
        if session.is_complete:
            return self._done(session)
        # A connection that ends within the body leaves what came before.
        is_whole = len(request.body) == length
        if match[1]:
            is_last = is_whole and int(match[2]) + 1 == int(match[3])
            self._append(session, request.body, int(match[1]), is_last=is_last)
        if is_whole and len(session.stored) == int(match[3]) and (match[1] or match[3] == "0"):
            self._complete(session, request)
            return self._done(session)
        last = len(session.stored) - 1
        return Answer(308, {"Range": f"bytes=0-{last}"} if session.stored else {})

    def _append(self, session: Session, body: bytes, start: int, *, is_last: bool) -> None:
        have = len(session.stored)
        if start > have:
            raise Refusal(503, "ServiceUnavailable")
        # What the session has already is ignored.
        session.stored += body[have - start :]
        if not is_last:
            del session.stored[max(have, len(session.stored) // UNIT * UNIT) :]

    def _complete(self, session: Session, request: Request) -> None:
        given = request.headers.get("x-goog-hash", "")
        if given and given != _hash(session):
            session.is_canceled = True
            raise Refusal(400, "BadDigest")
        self._objects[session.name] = bytes(session.stored)
        session.is_complete = True

    def _done(self, session: Session) -> Answer:
        # Google sends both hashes, in a field each.
        headers = {"x-goog-hash": _hash(session), "x-goog-stored-content-length": str(len(session.stored))}
        return Answer(200, {**headers, "ETag": f'"{hashlib.md5(session.stored).hexdigest()}"'})


def _hash(session: Session) -> str:
    return f"md5={base64.b64encode(hashlib.md5(session.stored).digest()).decode()}"
