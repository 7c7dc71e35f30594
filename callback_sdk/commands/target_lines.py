"""Files of JSON lines with deliveries and their new targets."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define

if TYPE_CHECKING:
    from callback_sdk.client import Client
    from callback_sdk.redaction import Secret

MAX_LINE = 1024 * 1024
"""Maximum characters of a line."""


@define(frozen=True, kw_only=True)
class TargetLine:
    """A line of a file: a delivery and its new target.

    Attributes:
        number: Number of the line, from 1.
        job_id: The task.
        delivery_id: The delivery.
        target: The new target: a URL, or an object with `url` and `param`.
    """

    number: int
    job_id: str
    delivery_id: str
    target: Secret[Any]

    def is_delivered(self, client: Client) -> bool:
        """Return whether the delivery has succeeded, perhaps with the target of this line in an earlier run.

        Raises:
            NotFoundError: The task doesn't exist.
        """
        found = client.get_deliveries(self.job_id)
        return any(one.delivery_id == self.delivery_id and one.status == "delivered" for one in found)


def read_lines(where: str) -> Iterator[TargetLine]:
    """Yield the deliveries and new targets of a file, all of which are checked before the first one is returned.

    Args:
        where: The path, or `-` for standard input.

    Raises:
        CallbackParamError: A line lacks `job_id`, `delivery_id` or `target`; the message has no content of it.
        OSError: The file can't be read.
    """
    from callback_sdk.redaction import Secret

    found = []
    for number, item in read_objects(where):
        job_id, delivery_id = item.reveal().get("job_id"), item.reveal().get("delivery_id")
        target = Secret(item.reveal().get("target"))
        if not (isinstance(job_id, str) and isinstance(delivery_id, str) and target.reveal()):
            raise line_error(number, "lacks job_id, delivery_id or target")
        found.append(TargetLine(number=number, job_id=job_id, delivery_id=delivery_id, target=target))
    yield from found


def read_objects(where: str) -> Iterator[tuple[int, Secret[dict[str, Any]]]]:
    """Yield number and object of each line of a file; empty lines are omitted.

    Raises:
        CallbackParamError: A line is not a JSON object, or is too long.
        OSError: The file can't be read.
    """
    from callback_sdk.redaction import Secret

    with nullcontext(sys.stdin) if where == "-" else Path(where).open(encoding="utf-8") as file:
        for number in itertools.count(1):
            line = Secret(file.readline(MAX_LINE + 1))
            if not line.reveal():
                return
            if not line.reveal().strip():
                continue
            item = _object(line)
            if item is None:
                raise line_error(number, f"is not a JSON object of at most {MAX_LINE} characters")
            yield number, item


def line_error(number: int, problem: str) -> Exception:
    """Return the error for a line."""
    from callback_sdk.errors import CallbackParamError

    return CallbackParamError(
        f"Line {number} {problem}.",
        hint='Give one object per line: {"job_id": ..., "delivery_id": ..., "target": {"url": ..., "param": {}}}.',
    )


def _object(line: Secret[str]) -> Secret[dict[str, Any]] | None:
    from callback_sdk.redaction import Secret

    found: Secret[Any]
    try:
        found = Secret(json.loads(line.reveal()) if len(line.reveal()) <= MAX_LINE else None)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found.reveal(), dict) else None
