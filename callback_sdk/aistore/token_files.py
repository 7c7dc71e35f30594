"""A token in a file that something else replaces, such as Kubernetes or `ais auth login`."""

from __future__ import annotations

import binascii
import json
import logging
import os
import re
import stat
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any

from callback_sdk.concurrency.forking import Lock
from callback_sdk.errors import AIStoreLoginError
from callback_sdk.redaction import Secret

_log = logging.getLogger(__name__)

_MAX_BYTES = 64 * 1024
"""Maximum size of a file: a token has a few thousand bytes at most."""

_JWT = "eyJ"
"""The start of a JSON Web Token: `{"` in Base64."""

_OPAQUE = re.compile(r"[A-Za-z0-9_~+/-]+=*")
"""A bearer token (RFC 6750, section 2.1) without dots, which separate the parts of a JSON Web Token."""

_State = tuple[int, int, int, int, int]


class TokenFile:
    """The token in a file, which is read again when it was replaced. Thread-safe.

    Each use asks for the file's state. A file that is empty or incomplete, because it is being written, doesn't replace
    the token that was read before.

    Args:
        path: A file as `ais auth login` writes it, JSON with a member `token`, or one with the token alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token: Secret[str] | None = None
        self._state: _State | None = None
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"TokenFile({str(self._path)!r})"

    def __call__(self) -> str:
        """Return the current token, in plain text.

        Raises:
            AIStoreLoginError: There is no token in the file, and there was none before.
        """
        with self._lock:
            problem = self._read()
            if self._token is not None:
                return self._token.reveal()
        raise AIStoreLoginError(
            f"The token file {self._path} {problem}.",
            hint='It has the token alone, or {"token": "..."} as ais auth login -f FILE writes it.',
        )

    def discard(self, refused: Secret[str]) -> None:
        """Read the file again at the next use, also if its state hasn't changed."""
        with self._lock:
            if refused == self._token:
                # Some volumes replace the contents and keep the time.
                self._state = None

    def _read(self) -> str:
        """Read the file if it has changed, and return the problem; empty if there is none."""
        try:
            if _state(self._path.stat()) == self._state:
                return ""
            # A named pipe would block here until somebody writes to it.
            with os.fdopen(os.open(self._path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode):
                    return "is not a regular file"
                token = parse_token(file.read(_MAX_BYTES + 1))
        except OSError as error:
            return f"can't be read ({error.strerror or type(error).__name__})"
        if token is None:
            return "has no token in it"
        # The state is older than the contents: a file that is written meanwhile is read again.
        self._token, self._state = token, _state(found)
        return ""


def parse_token(content: bytes) -> Secret[str] | None:
    """Return the token in a file's content; None if there is none, or only a part of one."""
    if len(content) > _MAX_BYTES:
        return None
    text: Secret[str] = Secret(content.decode("utf-8", errors="replace").strip())
    if is_jwt(text) or (_OPAQUE.fullmatch(text.reveal()) and not text.reveal().startswith(_JWT)):
        return text
    try:
        token: Secret[Any] = Secret(json.loads(text.reveal()).get("token"))
    except (ValueError, AttributeError, RecursionError):
        return None
    return token if isinstance(token.reveal(), str) and token.reveal() else None


def is_jwt(text: Secret[str]) -> bool:
    """Tell whether a text is a complete JSON Web Token: the start of a JSON document must not be sent as one."""
    parts = Secret(text.reveal().split("."))
    if len(parts.reveal()) != 3 or not all(parts.reveal()):
        return False
    try:
        return all(isinstance(json.loads(urlsafe_b64decode(part + "==")), dict) for part in parts.reveal()[:2])
    except (ValueError, binascii.Error, RecursionError):
        return False


def _state(found: os.stat_result) -> _State:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
