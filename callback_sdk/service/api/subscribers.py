"""Subscribers as OGC API - Processes has them: further targets of a task, with the events that they subscribe to.

Source: the schema subscriber.yaml of "OGC API - Processes - Part 1: Core", section "Callback".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from callback_sdk.errors import CallbackParamError
from callback_sdk.redaction import Secret
from callback_sdk.targets.members import COMPLETED, EVENT_NAMES, FAILED, PROGRESS, STARTED, SUCCEEDED
from callback_sdk.text.descriptions import short_repr

_EVENTS = {"successUri": (SUCCEEDED,), "inProgressUri": (STARTED, PROGRESS), "failedUri": (FAILED,)}
"""Events by the members of a subscriber."""

_HINT = f"Send an object with one or more of {', '.join(_EVENTS)}, each a URL."


def subscriber_callbacks(given: Secret[Any]) -> Secret[list[dict[str, Any]]]:
    """Return the targets of a subscriber, as the field `callbacks` has them. One with several events is one target.

    Args:
        given: The subscriber; None for none.

    Raises:
        CallbackParamError: It is not an object with URLs.
    """
    if given.reveal() is None:
        return Secret([])
    if not isinstance(given.reveal(), Mapping) or not given.reveal():
        raise CallbackParamError("'subscriber' is not an object with members.", hint=_HINT)
    events: Secret[dict[str, set[str]]] = Secret(defaultdict(set))
    for name in given.reveal():
        if name not in _EVENTS:
            raise CallbackParamError(f"'subscriber' has a member {short_repr(name)}.", hint=_HINT)
        if not isinstance(given.reveal()[name], str) or not given.reveal()[name].strip():
            raise CallbackParamError(f"{name} of 'subscriber' is not a URL.", hint=_HINT)
        events.reveal()[given.reveal()[name].strip()].update(_EVENTS[name])
    return Secret([{"url": url, "param": {"events": _event_names(names)}} for url, names in events.reveal().items()])


def _event_names(events: set[str]) -> list[str]:
    """Return names of events, in order. Those of both outcomes are those of the end."""
    if events >= {SUCCEEDED, FAILED}:
        events = events - {SUCCEEDED, FAILED} | {COMPLETED}
    return [name for name in EVENT_NAMES if name in events]
