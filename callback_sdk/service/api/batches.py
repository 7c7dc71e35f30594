"""The field `batch` of a request: a batch of several requests, with a target that is told of its end."""

from __future__ import annotations

import json
import re
from typing import Any

from callback_sdk.errors import CallbackParamError
from callback_sdk.redaction import Secret
from callback_sdk.service.api.fields import SubmissionError, SubmittedForm
from callback_sdk.service.api.submission import Rules, checked_target
from callback_sdk.service.api.targets import parse_targets
from callback_sdk.service.store.models import NewBatch
from callback_sdk.targets import plan
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.members import DEFAULT_EVENTS
from callback_sdk.targets.objects import document_digest

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
    found = _read(form)
    if found is None:
        return None
    batch_id, is_last, callback = found
    return NewBatch(
        batch_id=batch_id,
        target=checked_target(callback, rules, batch_id).callback,
        is_last=is_last,
        plan=lambda callback: plan(callback, rules.settings),
    )


def without_signature(form: SubmittedForm, rules: Rules) -> SubmittedForm:
    """Return a form whose `batch` says where the document goes, and not how it is signed.

    A call that goes on after days has to sign the target again, and is the same call.

    Raises:
        SubmissionError: The field is invalid.
        TargetError: The target is invalid.
    """
    found = _read(form)
    if found is None:
        return form
    batch_id, is_last, callback = found
    # Whether it has expired doesn't matter: the request may have been accepted before.
    target = plan(callback, rules.settings)
    batch = Secret(json.dumps([batch_id, is_last, document_digest(target)]))
    files = {name: files for name, files in form.files.items() if name != "batch"}
    return SubmittedForm(fields={**form.fields, "batch": batch}, files=files)


def _read(form: SubmittedForm) -> tuple[str, bool, Callback] | None:
    """Return the id of a request's batch, whether the request is its last one, and the target; None without a batch."""
    given = form.json("batch")
    if given.reveal() is None:
        return None
    if not _is_valid(given):
        raise SubmissionError("'batch' is not an object with a valid id, done and is_last.", hint=_HINT)
    (requested,) = parse_targets(Secret([given.reveal()["done"]]), Secret(None), 1)
    callback = requested.callback
    if callback.is_results or requested.output is not None or callback.events != DEFAULT_EVENTS:
        raise CallbackParamError(
            "'done' is results:, is for an output file, or subscribes to events.",
            hint="Give a webhook or a presigned URL: it is sent one document when all tasks of the batch have ended.",
        )
    return given.reveal()["id"], given.reveal()["is_last"], callback


def _is_valid(given: Secret[Any]) -> bool:
    if not isinstance(given.reveal(), dict) or given.reveal().keys() != {"id", "done", "is_last"}:
        return False
    batch_id = given.reveal()["id"]
    has_id = isinstance(batch_id, str) and re.fullmatch(r"[0-9A-Za-z._-]{1,64}", batch_id) is not None
    return has_id and isinstance(given.reveal()["is_last"], bool)
