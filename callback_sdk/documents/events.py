"""The document of an event: the result document of a job that has not ended, with its progress."""

from __future__ import annotations

from typing import Any

from callback_sdk.documents.body import Body
from callback_sdk.documents.values import encode
from callback_sdk.models import IN_PROGRESS, Progress

MAX_MESSAGE = 1000
"""Characters of a message in an event. The rest is left out."""


def event_document(job_id: str, param: Any, *, sequence: int, progress: Progress) -> Body:
    """Build the document of an event.

    Args:
        job_id: The job's id.
        param: The target's `callback_param`, without credentials.
        sequence: Orders the events of the job at this target. The result document has none, and follows all of them.
        progress: The progress; neither fraction nor message when the job has just started.

    Returns:
        The document: the members of the result document, of which `success` and `results` are null, then `progress`
        and `sequence`.

    Raises:
        EncodingError: `callback_param` can't be represented in JSON.
    """
    members = {
        "job_id": job_id,
        "status": IN_PROGRESS,
        "callback_param": param,
        "success": None,
        "results": None,
        "progress": {"fraction": progress.fraction, "message": _sendable(progress.message)},
        "sequence": sequence,
    }
    return Body(encode(members, path="the event", only_finite=True).data)


def _sendable(message: str) -> str:
    """Return the beginning of a message. A lone surrogate, which JSON in UTF-8 can't hold, is replaced."""
    return message[:MAX_MESSAGE].encode(errors="replace").decode()
