"""Policies of the forms of OSS, COS and OBS, checked apart from the package's own check of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime

from tests.checkers.http_store import Refusal, expiration, policy_document, rules


def write_policy(end: datetime, fields: Mapping[str, str], largest: int) -> str:
    """Return a policy for these fields and a file of at most this many bytes."""
    conditions = [*({name: value} for name, value in fields.items()), ["content-length-range", 0, largest]]
    document = {"expiration": end.strftime("%Y-%m-%dT%H:%M:%S.000Z"), "conditions": conditions}
    return base64.b64encode(json.dumps(document).encode()).decode()


def check_policy(given: Mapping[str, str], size: int, now: datetime) -> None:
    """Compare a form with its policy; fields without a condition are taken.

    Args:
        given: Fields by their names in lower case.
        size: Bytes of the file.
        now: The time.

    Raises:
        Refusal: A condition doesn't hold, or the policy has expired.
    """
    document = policy_document(given["policy"])
    if now >= expiration(document):
        raise Refusal(403, "AccessDenied")
    for operator, first, second in rules(document["conditions"]):
        if operator == "content-length-range":
            if not int(first) <= size <= second:
                raise Refusal(400, "EntityTooLarge" if size > second else "EntityTooSmall")
        elif not _holds(operator, given.get(first), second):
            raise Refusal(403, "AccessDenied")


def _holds(operator: str, value: str | None, wanted: str | list[str]) -> bool:
    if value is None:
        return False
    if operator == "in":
        return value in wanted
    if operator == "not-in":
        return value not in wanted
    if operator not in ("eq", "starts-with") or not isinstance(wanted, str):
        raise Refusal(400, "InvalidPolicyDocument")
    return value == wanted if operator == "eq" else value.startswith(wanted)
