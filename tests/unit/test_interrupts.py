"""callback_sdk.redaction: tracebacks of interrupts."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from callback_sdk import Client, JobResult, Outbox, ResultsWriter, check_target, webhooks
from callback_sdk.documents.body import Body
from callback_sdk.redaction import Secret, clearing_locals
from tests.signedurls import v4

MARKER = "MARKER7f3a" * 3
RESULT = JobResult(job_id="42", success=True, results=1)
URL = f"http://127.0.0.1:9/b/k?{v4(date=datetime.now(timezone.utc), key=MARKER)}"


class TermSignal(BaseException):
    """Raised by a handler of SIGTERM."""


def write(folder: Path) -> None:
    ResultsWriter(timeout=timedelta(milliseconds=1)).write(RESULT, URL)


def keep(folder: Path) -> None:
    with Outbox(folder / "outbox", writer=ResultsWriter(timeout=timedelta(milliseconds=1))) as outbox:
        outbox.write(RESULT, URL)


def submit(folder: Path) -> None:
    Client("http://127.0.0.1:9", token=MARKER, retries=0).run_algorithm("a", {"a": [1]}, callback_url=URL)


def check(folder: Path) -> None:
    check_target(URL)


def sign_webhook(folder: Path) -> None:
    webhooks.sign([webhooks.SigningKey("v1", Secret(MARKER.encode()))], "1", datetime.now(timezone.utc), Body(b"{}"))


def shown(error: BaseException | None) -> Iterator[tuple[str, str, str]]:
    """Return each local variable with the marker: file, function and name."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename != __file__ or frame.f_code.co_name == "interrupt":
                names = [name for name, value in frame.f_locals.items() if MARKER in repr(value)]
                yield from ((frame.f_code.co_filename, frame.f_code.co_name, name) for name in names)
        error = error.__cause__ or error.__context__


def interrupted(
    call: Callable[[], Any], file: str, function: str, number: int, kind: type[BaseException]
) -> BaseException:
    """Raise in a signal handler's place, before a line of a function; lines are counted as they run."""
    lines = 0

    def interrupt(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if event == "line" and frame.f_code.co_name == function and frame.f_code.co_filename.endswith(file):
            lines += 1
            if lines == number:
                raise kind
        return interrupt

    previous = sys.gettrace()
    sys.settrace(interrupt)
    try:
        call()
    except kind as error:
        return error
    finally:
        sys.settrace(previous)
    raise AssertionError(f"{function} was not called")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, TermSignal])
@pytest.mark.parametrize(
    ("call", "file", "function", "number"),
    [
        (write, "urllib/parse.py", "_hostinfo", 1),
        (write, "redaction.py", "__parse", 3),
        (keep, "redaction.py", "__parse", 3),
        (keep, "json/encoder.py", "encode", 1),
        (submit, "redaction.py", "__parse", 3),
        (submit, "redaction.py", "wrap_secret", 1),
        (check, "urllib/parse.py", "_hostinfo", 1),
        (sign_webhook, "webhooks.py", "sign", 1),
    ],
)
def test_no_traceback_of_an_interrupt_shows_a_credential(
    tmp_path: Path, call: Callable[[Path], None], file: str, function: str, number: int, kind: type[BaseException]
) -> None:
    """The interrupt keeps its type and its lines, and no frame below the public call has a credential."""
    error = interrupted(lambda: call(tmp_path), file, function, number, kind)
    assert list(shown(error)) == []
    assert function in [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def test_the_callers_own_frames_are_left_alone() -> None:
    """An error that the caller was handling before keeps its local variables."""

    def parse(text: str) -> None:
        raise ValueError(text)

    @clearing_locals
    def public(secret: str) -> None:
        copy = secret
        raise KeyError(copy)

    def handle() -> None:
        try:
            parse("a")
        except ValueError:
            public("b")

    with pytest.raises(KeyError) as caught:
        handle()
    handled = caught.value.__context__
    assert handled is not None
    assert [frame.f_locals.get("text") for frame, _ in traceback.walk_tb(handled.__traceback__)][-1] == "a"
    assert [frame.f_locals.get("copy") for frame, _ in traceback.walk_tb(caught.value.__traceback__)][-1] is None
