"""The result document: `{job_id, status, callback_param, success, results}` as UTF-8 JSON."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from callback_sdk.documents.body import Body
from callback_sdk.documents.result_files import file_body, path_body
from callback_sdk.documents.values import Encoded, encode
from callback_sdk.models import JobResult

__all__ = ["Encoded", "document", "encode", "encode_results", "reference_document"]


def encode_results(results: Any, stack: ExitStack) -> tuple[Body, int]:
    """Make the bytes of the member `results`.

    Args:
        results: A value, a `pathlib.Path` or binary file object with JSON in it, or a `Body` that is known to be JSON.
        stack: Keeps what must stay open while the bytes are sent.

    Returns:
        The bytes, and how many numbers in them became null (0 for a file, whose NaN is an error).

    Raises:
        EncodingError: JSON can't hold the value, or the file can't be read or holds no JSON.
    """
    if isinstance(results, Body):
        return results, 0
    if isinstance(results, os.PathLike):
        return path_body(Path(os.fsdecode(results))), 0
    if hasattr(results, "read") and not hasattr(results, "columns"):
        return file_body(results, stack), 0
    encoded = encode(results)
    return Body(*encoded.parts), encoded.nulls_written


def document(result: JobResult, param: Any, results: Body) -> Body:
    """Put one target's document around the results.

    Args:
        result: The job's own members.
        param: This target's `callback_param`, without its credentials.
        results: What `encode_results` made; `null` is sent instead when the job failed.

    Returns:
        The document. Members are in the order of the wire format; a failed job has `error` after them.

    Raises:
        EncodingError: `callback_param` holds what JSON can't.
    """
    head = (
        b'{"job_id":%b,"status":%b,"callback_param":%b,"success":%b,"results":'
        % (
            encode(result.job_id, path="job_id").data,
            encode(result.status, path="status").data,
            encode(param, path="callback_param", only_finite=True).data,
            b"true" if result.success else b"false",
        )
    )  # fmt: skip
    if result.success:
        return Body(head, *results.parts, b"}")
    return Body(head, b'null,"error":%b}' % encode(result.error, path="error").data)


def reference_document(result: JobResult, param: Any, results_url: str) -> Body:
    """Make the document for a target that is too small for the results: it says where they are.

    Args:
        result: The job's own members.
        param: This target's `callback_param`, without its credentials.
        results_url: Where the whole document is, without a signature.

    Returns:
        The document, with `results_url` in the place of `results`.
    """
    members = {
        "job_id": result.job_id,
        "status": result.status,
        "callback_param": param,
        "success": result.success,
        "results_url": results_url,
    }
    return Body(encode(members, path="the document", only_finite=True).data)
