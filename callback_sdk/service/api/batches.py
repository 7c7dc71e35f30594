"""The field `batch` of a request: a batch of several requests, with a target that is told of its end."""

from __future__ import annotations

import re
from typing import Any

from callback_sdk.errors import CallbackParamError
from callback_sdk.redaction import Secret
from callback_sdk.service.api.fields import SubmissionError, SubmittedForm
from callback_sdk.service.api.submission import Rules, checked_target
from callback_sdk.service.api.targets import parse_targets
from callback_sdk.service.store.models import NewBatch
from callback_sdk.targets.members import DEFAULT_EVENTS

_HINT = (
    'Send {"id": "...", "done": {"url": "https://...", "param": {}}, "is_last": true}, with an id of 1 to 64 letters, '
    "digits and -._ characters."
)


def read_done(form: SubmittedForm, rules: Rules) -> NewBatch | None:
    """Return the batch of a request, with the target that is told when all of its tasks have ended; None without one.

    Raises:
        SubmissionError: The field is invalid.
        TargetError: The document could never be delivered to the target.
    """
    given = form.json("batch")
    if given.reveal() is None:
        return None
    if not _is_valid(given):
        raise SubmissionError("'batch' is not an object with a valid id, done and is_last.", hint=_HINT)
    batch_id, is_last = given.reveal()["id"], given.reveal()["is_last"]
    (requested,) = parse_targets(Secret([given.reveal()["done"]]), Secret(None), 1)
    callback = requested.callback
    if callback.is_results or requested.output is not None or callback.events != DEFAULT_EVENTS:
        raise CallbackParamError(
            "'done' is results:, is for an output file, or subscribes to events.",
            hint="Give a webhook or a presigned URL: it is sent one document when all tasks of the batch have ended.",
        )
    return NewBatch(batch_id=batch_id, target=checked_target(callback, rules, batch_id).callback, is_last=is_last)


def _is_valid(given: Secret[Any]) -> bool:
    if not isinstance(given.reveal(), dict) or given.reveal().keys() != {"id", "done", "is_last"}:
        return False
    batch_id = given.reveal()["id"]
    has_id = isinstance(batch_id, str) and re.fullmatch(r"[0-9A-Za-z._-]{1,64}", batch_id) is not None
    return has_id and isinstance(given.reveal()["is_last"], bool)
