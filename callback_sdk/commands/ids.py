"""Ids on the command line: complete ones, or unique prefixes of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from callback_sdk.client import Client

MAX_CANDIDATES = 10
"""Candidates that an error lists."""

# A prefix has at least four characters: a shorter one may be a typo that happens to be unique.
_JOB = re.compile(r"[0-9a-f-]{4,35}")
_DELIVERY = re.compile(r"(?:msg_)?([0-9a-f]{4,31})")
_TOO_SHORT = re.compile(r"(?:msg_)?[0-9a-f-]{1,3}")


@contextmanager
def explaining_short_ids(*given: str | None) -> Iterator[None]:
    """Say in the hint of a `NotFoundError` that one of these texts is too short for the beginning of an id."""
    from callback_sdk.errors import NotFoundError

    try:
        yield
    except NotFoundError as error:
        if any(text is not None and _TOO_SHORT.fullmatch(text.strip().lower()) for text in given):
            error.replace_hint("Give at least 4 characters of an id, or all of it.")
        raise


def full_job_id(client: Client, given: str) -> str:
    """Return the id of the user's task whose id begins with a text.

    Complete ids, and texts that no id begins with, are returned unchanged.

    Raises:
        NotFoundError: There is no such task.
        InvalidRequestError: There are several.
    """
    text = given.strip().lower()
    if not _JOB.fullmatch(text):
        return given
    found = client.get_tasks(id_prefix=text, limit=MAX_CANDIDATES + 1)
    # Checked here too, because older services ignore the prefix.
    ids = (task.job_id for task in found if task.job_id.startswith(text))
    return _single("task", given, ids, hint="List tasks with: callback-sdk tasks")


def full_delivery_ids(given: Sequence[str], list_ids: Callable[[], Iterable[str]], *, hint: str) -> list[str]:
    """Return the ids of the deliveries whose ids begin with these texts, with or without `msg_`.

    Complete ids, and texts that no id begins with, are returned unchanged.

    Args:
        given: The texts.
        list_ids: Returns the ids of all deliveries; called if there is a prefix.
        hint: How to list them.

    Raises:
        NotFoundError: There is no such delivery.
        InvalidRequestError: There are several.
    """
    prefixes = {text: match[1] for text in given if (match := _DELIVERY.fullmatch(text.strip().lower()))}
    ids = list(list_ids()) if prefixes else []
    found = {
        text: _single("delivery", text, (one for one in ids if one.startswith(f"msg_{prefix}")), hint=hint)
        for text, prefix in prefixes.items()
    }
    return [found.get(text, text) for text in given]


def _single(noun: str, given: str, found: Iterable[str], *, hint: str) -> str:
    from callback_sdk.errors import InvalidRequestError, NotFoundError

    candidates = list(found)
    if not candidates:
        raise NotFoundError(f"No {noun} has an id that begins with {given!r}.", hint=hint)
    if len(candidates) > 1:
        listed = "".join(f"\n  {one}" for one in candidates[:MAX_CANDIDATES])
        more = "\n  …" if len(candidates) > MAX_CANDIDATES else ""
        raise InvalidRequestError(
            f"Several ids begin with {given!r}:{listed}{more}\n", hint="Give more characters of the id."
        )
    return candidates[0]
