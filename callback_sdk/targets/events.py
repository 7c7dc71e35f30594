"""Events that a target subscribes to, in `callback_param["events"]`; pure."""

from __future__ import annotations

from typing import Any

from callback_sdk.errors import CallbackParamError
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.targets.members import (
    COMPLETED,
    EVENT_NAMES,
    EVENTS,
    FAILED,
    PROGRESS,
    STARTED,
    SUCCEEDED,
    type_with_article,
)
from callback_sdk.text.descriptions import short_repr

_HINT = (
    f'Give a list of one or more of "{STARTED}", "{PROGRESS}" and "{COMPLETED}", or of "{SUCCEEDED}" or "{FAILED}" for '
    f'one outcome only. Leave events out for ["{COMPLETED}"]. For a part of the document choose another name.'
)


def read_events(url: SecretURL, param: Secret[Any]) -> frozenset[str]:
    """Return the events that a target subscribes to.

    Args:
        url: URL of the target, for errors.
        param: Its `callback_param`, which has the member.

    Raises:
        CallbackParamError: It is not a list of events, or an event is misspelled.
    """
    given = Secret(param.reveal()[EVENTS])
    if not isinstance(given.reveal(), (list, tuple)):
        raise _invalid(url, f"is {type_with_article(given)}, not a list")
    if not given.reveal():
        raise _invalid(url, "is an empty list")
    if len(given.reveal()) > len(EVENT_NAMES):
        raise _invalid(url, f"has {len(given.reveal())} names; there are {len(EVENT_NAMES)} events")
    for name in given.reveal():
        if not isinstance(name, str) or name not in EVENT_NAMES:
            raise _invalid(url, f"has {short_repr(name)}, which is not an event")
    return frozenset(given.reveal())


def _invalid(url: SecretURL, problem: str) -> CallbackParamError:
    return CallbackParamError(f"events of {url} {problem}.", hint=_HINT, url=str(url))
