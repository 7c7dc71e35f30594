"""Findings of `callback-sdk doctor`, and the checks that they come from, each in bounded time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Literal

from attrs import define, field

from callback_sdk.errors import CallbackSDKError

Status = Literal["ok", "warning", "failure"]

TIMEOUT = 10.0
"""Seconds for each check. All run at the same time."""


@define(frozen=True)
class Finding:
    """What a check has found.

    Attributes:
        status: `"ok"`, `"warning"` for what may become a problem, or `"failure"` for what doesn't work.
        message: What is there, in one sentence, without credentials.
        hint: What to do; empty for `"ok"`.
    """

    status: Status
    message: str
    hint: str = field(default="")


Check = Callable[[], list[Finding]]


def ok(message: str) -> list[Finding]:
    return [Finding("ok", message)]


def warning(message: str, hint: str) -> list[Finding]:
    return [Finding("warning", message, hint)]


def failure(message: str, hint: str) -> list[Finding]:
    return [Finding("failure", message, hint)]


def run_all(checks: Mapping[str, Check], *, timeout: float = TIMEOUT) -> list[tuple[str, Finding]]:
    """Run checks at the same time, and return their findings in the checks' order.

    A check that takes too long is left behind, because a thread can't be ended; it doesn't hold up the end of the
    process.

    Args:
        checks: The checks, by name.
        timeout: Seconds for each of them.
    """
    found: dict[str, list[Finding]] = {}
    threads = {
        name: threading.Thread(target=_run, args=(check, found, name), daemon=True, name=f"check {name}")
        for name, check in checks.items()
    }
    for thread in threads.values():
        thread.start()
    end = time.monotonic() + timeout
    for thread in threads.values():
        thread.join(max(0.0, end - time.monotonic()))
    late = failure(f"No answer within {timeout:g} s.", "Look whether the host is reachable, or the disk is responding.")
    return [(name, finding) for name in checks for finding in found.get(name, late)]


def _run(check: Check, found: dict[str, list[Finding]], name: str) -> None:
    try:
        found[name] = check()
    except CallbackSDKError as error:
        found[name] = failure(error.message, error.hint)
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        found[name] = failure(f"{error.strerror or type(error).__name__}{place}.", "Check this file and its directory.")
    except Exception as error:  # noqa: BLE001 - its text may have a credential
        found[name] = failure(f"The check failed with {type(error).__name__}.", "Report this, with the versions above.")
