"""callback_sdk.text.tracebacks"""

from __future__ import annotations

import asyncio
import functools
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import callback_sdk
from callback_sdk.concurrency.leases import run_heartbeat
from callback_sdk.text.tracebacks import user_frames, user_traceback

OURS = "callback_sdk/"


def fail() -> None:
    raise ValueError("mine")


def called_by_this_package(function: Callable[[], Any]) -> BaseException:
    """Return the error that a function raises when this package calls it."""
    found: list[Exception] = []
    answers = iter([False, True])
    run_heartbeat(function, wait=lambda: next(answers), failed=found.append)
    return found[0]


def frames(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("  File ")]


def test_frames_of_this_package_are_left_out() -> None:
    """Its own calls tell users nothing."""
    text = user_traceback(called_by_this_package(fail))
    assert len(frames(text)) == 1
    assert text.startswith("Traceback")
    assert text.endswith("ValueError: mine\n")
    assert "in fail" in text


def test_frames_between_are_left_out() -> None:
    """Also those of the standard library that called the user's code."""

    async def waits() -> None:
        fail()

    text = user_traceback(called_by_this_package(lambda: asyncio.run(waits())))
    assert all(__file__ in frame for frame in frames(text)[:1])
    assert OURS + "concurrency" not in text


def test_libraries_that_the_user_calls_are_shown() -> None:
    """They belong to the user's code."""
    text = user_traceback(called_by_this_package(lambda: functools.reduce(lambda _, __: fail(), [1, 2, 3])))
    assert "in fail" in text
    assert "json" in user_traceback(called_by_this_package(lambda: __import__("json").loads("{")))


def test_causes_are_reduced_too() -> None:
    """Each error of a chain and of a group."""

    def chained() -> None:
        raise KeyError("outer") from called_by_this_package(fail)

    text = user_traceback(called_by_this_package(chained))
    assert "ValueError: mine" in text
    assert "KeyError: 'outer'" in text
    assert OURS + "concurrency" not in text


def test_a_long_chain_is_no_problem() -> None:
    """It may be longer than the recursion limit."""
    error: BaseException = ValueError("first")
    for number in range(2000):
        later = ValueError(str(number))
        later.__context__ = error
        error = later
    assert "ValueError: 1999" in user_traceback(error)


def test_an_error_of_this_package_is_complete() -> None:
    """Otherwise nobody could find its cause."""
    error = called_by_this_package(len)  # type: ignore[arg-type]
    assert OURS + "concurrency" in user_traceback(error)


DUMP = """Current thread 0x00007f2c (most recent call first):
  File "{stdlib}/ssl.py", line 1 in read
  File "{purelib}/torch/hub.py", line 2 in download
  File "/srv/jobs.py", line 3 in load_model
  File "{package}/service/work/startup.py", line 4 in set_up
  File "/srv/jobs.py", line 5 in <module>
  File "<string>", line 1 in <module>
"""


def test_a_dump_has_the_frames_of_the_users_code() -> None:
    """Those of libraries only if there are no others."""
    places = {**sysconfig.get_paths(), "package": str(Path(callback_sdk.__file__).parent)}
    lines = DUMP.format(**places).splitlines()
    assert user_frames("\n".join(lines)) == ["load_model (/srv/jobs.py, line 3)", "<module> (/srv/jobs.py, line 5)"]
    assert user_frames("\n".join(lines[:3])) == [f"download ({places['purelib']}/torch/hub.py, line 2)"]
    assert user_frames("\n".join(lines[:2])) == []
    assert user_frames("") == []
