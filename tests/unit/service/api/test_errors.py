"""callback_sdk.service.api.errors"""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from callback_sdk.service.api import errors
from callback_sdk.service.store import StoreFullError, StoreUnavailableError

FULL = Path("/dev/full")


def ask(route: Callable[[], None]) -> tuple[int, dict[bytes, bytes], Any]:
    """Answer a request by this route, and by our handlers if that fails: status, headers and body."""
    app = FastAPI()
    errors.install(app)
    app.get("/")(route)
    answer: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        answer.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    asyncio.run(app(scope, receive, send))
    start, *parts = answer
    return start["status"], dict(start["headers"]), json.loads(b"".join(part.get("body", b"") for part in parts))


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_is_a_503(caplog: pytest.LogCaptureFixture) -> None:
    """The client can retry, and the operator finds the error in the log."""

    def fill() -> None:
        FULL.write_text("x")

    status, headers, body = ask(fill)
    assert (status, headers[b"retry-after"]) == (503, b"5")
    assert body == {
        "status": False,
        "error": "The service's disk is full. Nothing was accepted; send the request again later.",
        "accepted": False,
    }
    assert "Disk full" in caplog.text


@pytest.mark.parametrize(("kind", "certain"), [(StoreFullError, True), (StoreUnavailableError, False)])
def test_a_full_database_says_that_nothing_was_accepted(kind: type[StoreUnavailableError], certain: bool) -> None:
    """A full disk rolls back the write; after a lost connection the commit is uncertain."""

    def fail() -> None:
        raise kind("The database can't be used.")

    status, _, body = ask(fail)
    assert status == 503
    assert body == {"status": False, "error": "The database can't be used."} | ({"accepted": False} if certain else {})


def test_other_faults_of_the_machine_are_not_explained_away() -> None:
    """They are faults, which the layer above answers with 500 and logs with their traceback."""

    def break_down() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/a/secret/place")

    with pytest.raises(OSError, match="a/secret/place"):
        ask(break_down)
