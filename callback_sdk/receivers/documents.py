"""Read a result document, or that of an event: the inverse of `documents.document`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from attrs import define, field

from callback_sdk.documents.decoding import decode, has_lone_surrogate
from callback_sdk.errors import DocumentError
from callback_sdk.models import CANCELED, FINISHED, IN_PROGRESS, JobResult, Progress
from callback_sdk.receivers.objects import BucketObject
from callback_sdk.text.descriptions import short_repr

_SHARED = ("job_id", "status", "callback_param", "success", "results")
_OF_RESULTS = (*_SHARED, "error", "results_url", "task_url")
_OF_EVENTS = (*_SHARED, "progress", "sequence")
_HINT = "Check that the sender is callback_sdk, and that nothing in between changes the document."


@define(frozen=True, kw_only=True)
class ReceivedResult(JobResult):
    """A `JobResult` as a receiver gets it, with what else its document has.

    Attributes:
        job_id: The task's id.
        success: Whether there are results.
        results: The results; None for a failed job, and for a document that refers to them by URL.
        error: Error message of a failed job.
        status: `"Finished"` or `"Canceled"`.
        outputs: None; output files are listed in `results["outputs"]`.
        callback_param: What the target's `callback_param` repeats in the document.
        results_url: URL of the object with the full document, without a signature, if the document was too large for
            this target; otherwise None.
        task_url: URL of the task in the service's API, likewise.
        members: Members of the document that this version doesn't know.
        delivery_id: The `webhook-id`, or place and version of the object. The same for all copies of one delivery.
        bucket_object: The object that the document was read from; None for a webhook.
        document: The bytes of the document.
    """

    callback_param: Mapping[str, Any] = field(factory=dict)
    results_url: str | None = None
    task_url: str | None = None
    members: Mapping[str, Any] = field(factory=dict, repr=False)
    delivery_id: str = ""
    bucket_object: BucketObject | None = None
    document: bytes = field(default=b"", repr=False)

    @property
    def identity(self) -> str:
        """What only copies of this delivery have in common, in 64 characters.

        The id alone isn't enough: after a restore of the sender's database, a second run may have other results under
        the same id.
        """
        given = f"{len(self.delivery_id)}.{self.delivery_id}.".encode("utf-8", "surrogatepass")
        return hashlib.sha256(given + self.document).hexdigest()


@define(frozen=True, kw_only=True)
class ReceivedEvent:
    """An event of a job that has not ended, for a target that subscribes to events.

    Attributes:
        job_id: The task's id.
        progress: The job's progress; without fraction and message when it has just started.
        sequence: Orders the events of the job at this target. Ignore an event whose number is not the greatest so far,
            and each that arrives after the result.
        callback_param: What the target's `callback_param` repeats in the document.
        members: Members of the document that this version doesn't know.
        delivery_id: The `webhook-id`.
    """

    job_id: str
    progress: Progress
    sequence: int
    callback_param: Mapping[str, Any] = field(factory=dict)
    members: Mapping[str, Any] = field(factory=dict, repr=False)
    delivery_id: str = ""


def read_document(
    document: bytes, *, delivery_id: str = "", bucket_object: BucketObject | None = None
) -> ReceivedResult | ReceivedEvent:
    """Read a result document or an event. Unknown members are kept.

    Args:
        document: The bytes of the document, verified.
        delivery_id: Id of the delivery.
        bucket_object: The object that it was read from; None for a webhook.

    Raises:
        DocumentError: It is neither of them.
    """
    members = read_object(document, "result document")
    if members.get("status") == IN_PROGRESS:
        return _event(members, delivery_id)
    return _result(members, delivery_id, bucket_object, document)


def read_result(document: bytes, *, delivery_id: str = "", bucket_object: BucketObject | None = None) -> ReceivedResult:
    """Read a result document. Unknown members are kept.

    Args:
        document: The bytes of the document, verified.
        delivery_id: Id of the delivery.
        bucket_object: The object that it was read from; None for a webhook.

    Raises:
        DocumentError: It is not a result document.
    """
    return _result(read_object(document, "result document"), delivery_id, bucket_object, document)


def _event(members: Mapping[str, Any], delivery_id: str) -> ReceivedEvent:
    progress, sequence = members.get("progress"), members.get("sequence")
    if not isinstance(progress, dict):
        raise _foreign("progress", progress, "an object")
    if not isinstance(sequence, int) or isinstance(sequence, bool):
        raise _foreign("sequence", sequence, "a whole number")
    fraction, message = progress.get("fraction"), progress.get("message")
    if fraction is not None and (isinstance(fraction, bool) or not isinstance(fraction, (int, float))):
        raise _foreign("progress.fraction", fraction, "a number")
    if message is not None and not isinstance(message, str):
        raise _foreign("progress.message", message, "a string")
    return ReceivedEvent(
        job_id=job_id_of(members),
        progress=Progress.from_dict(progress),
        sequence=sequence,
        callback_param=_param(members),
        members={name: value for name, value in members.items() if name not in _OF_EVENTS},
        delivery_id=delivery_id,
    )


def _result(
    members: Mapping[str, Any], delivery_id: str, bucket_object: BucketObject | None, document: bytes
) -> ReceivedResult:
    success, error = members.get("success"), members.get("error")
    if not isinstance(success, bool):
        raise _foreign("success", success, "true or false")
    if success and not {"results", "results_url", "task_url"} & set(members):
        raise DocumentError("The result document has success and no results.", hint=_HINT)
    return ReceivedResult(
        job_id=job_id_of(members),
        success=success,
        results=members.get("results"),
        error=_optional_text(members, "error") if error is not None else None,
        status=_status(members),
        callback_param=_param(members),
        results_url=_optional_text(members, "results_url"),
        task_url=_optional_text(members, "task_url"),
        members={name: value for name, value in members.items() if name not in _OF_RESULTS},
        delivery_id=delivery_id,
        bucket_object=bucket_object,
        document=document,
    )


def read_object(data: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        data: Its bytes.
        what: Its name, for errors.

    Raises:
        DocumentError: It is not a JSON object in UTF-8, or has numbers or texts that can't be represented.
    """
    try:
        value = decode(data)
    except ValueError:
        # The error is not quoted, because it may contain a part of the document.
        raise DocumentError(f"The {what} is not valid JSON.", hint=_HINT) from None
    if not isinstance(value, dict):
        raise DocumentError(f"The {what} is of type {type(value).__name__}, not an object.", hint=_HINT)
    if b"\\ud" in data.lower() and has_lone_surrogate(value):
        raise DocumentError(f"The {what} has a lone surrogate, which is not Unicode.", hint=_HINT)
    return value


def job_id_of(members: Mapping[str, Any]) -> str:
    """Return the job's id.

    Raises:
        DocumentError: There is none.
    """
    job_id = members.get("job_id")
    if not isinstance(job_id, str) or not job_id:
        raise _foreign("job_id", job_id, "a string")
    return job_id


def _status(members: Mapping[str, Any]) -> str:
    status = members.get("status")
    if status not in (FINISHED, CANCELED):
        raise _foreign("status", status, f"{FINISHED!r} or {CANCELED!r}")
    return str(status)


def _param(members: Mapping[str, Any]) -> Mapping[str, Any]:
    param = members.get("callback_param")
    if not isinstance(param, dict):
        raise _foreign("callback_param", param, "an object")
    return param


def _optional_text(members: Mapping[str, Any], name: str) -> str | None:
    value = members.get(name)
    if value is not None and not isinstance(value, str):
        raise _foreign(name, value, "a string")
    return value


def _foreign(name: str, value: Any, expected: str) -> DocumentError:
    found = "missing" if value is None else short_repr(value)
    return DocumentError(f"{name} of the document is {found}; expected {expected}.", hint=_HINT)
