"""Tracebacks of users' code, without the frames of this package that called it."""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[1])
_STANDARD_LIBRARY = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), "<frozen ")
_SITE_PACKAGES = ("site-packages", "dist-packages")

_DUMPED = re.compile(r'^ {2}File "([^<"\n][^"\n]{0,1000})", line ([0-9]{1,9}) in ([^\n]{1,1000})$', re.MULTILINE)
"""A frame in a dump of faulthandler, if its code is that of a file."""


def user_traceback(error: BaseException) -> str:
    """Return the traceback of an error that users' code raised, chained errors included.

    It begins with the first frame of the user's code, and has no frame of this package. If no frame is the user's, it
    is complete, as this package is to blame.
    """
    found = traceback.TracebackException.from_exception(error)
    for one in _all_of(found):
        one.stack = _users_frames(one)
    return "".join(found.format())


def user_frames(dump: str) -> list[str]:
    """Return the frames of users' code in a dump of faulthandler, the last call first.

    Frames of installed libraries are left out too, unless there are no others.

    Args:
        dump: The stack of one thread.
    """
    frames = [match.groups() for match in _DUMPED.finditer(dump)]
    users = [frame for frame in frames if _is_users(frame[0])]
    own = [frame for frame in users if not any(folder in frame[0] for folder in _SITE_PACKAGES)]
    return [f"{function} ({name}, line {line})" for name, line, function in own or users]


def _all_of(found: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """Yield an error with those that it is chained to and those that it groups."""
    # Not recursive: a chain may be longer than the recursion limit.
    left = [found]
    while left:
        one = left.pop()
        yield one
        others = (one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ()))
        left += [other for other in others if other is not None]


def _users_frames(found: traceback.TracebackException) -> traceback.StackSummary:
    frames = list(found.stack)
    first = next((number for number, frame in enumerate(frames) if _is_users(frame.filename)), None)
    if first is None:
        # A SyntaxError names its file and line itself.
        return traceback.StackSummary() if issubclass(found.exc_type or object, SyntaxError) else found.stack
    return traceback.StackSummary.from_list([one for one in frames[first:] if not _is_of_package(one.filename)])


def _is_users(name: str) -> bool:
    if _is_of_package(name):
        return False
    return not name.startswith(_STANDARD_LIBRARY) or any(folder in name for folder in _SITE_PACKAGES)


def _is_of_package(name: str) -> bool:
    return name.startswith(f"{_PACKAGE}/")
