"""The result document: `{job_id, status, callback_param, success, results}` as UTF-8 JSON."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.documents.body import Body
from callback_sdk.documents.values import EncodedValue, encode
from callback_sdk.models import JobResult

__all__ = ["EncodedValue", "document", "encode", "encode_results", "reference_document"]


def encode_results(results: Any, stack: ExitStack) -> tuple[Body, int]:
    """Encode the member `results`.

    Args:
        results: A value, the `pathlib.Path` of a JSON file, a binary file object with JSON, or a `Body` of valid JSON.
        stack: Owns the temporary files, which must stay open until the bytes are sent.

    Returns:
        The bytes, and the number of NaN, infinities and NaT written as null; 0 for a file, in which NaN is an error.

    Raises:
        EncodingError: The value can't be represented in JSON, or the file can't be read or is not JSON.
    """
    if isinstance(results, Body):
        return results, 0
    if isinstance(results, os.PathLike) or (hasattr(results, "read") and not hasattr(results, "columns")):
        return _file_body(results, stack), 0
    encoded = encode(results)
    return Body(*encoded.parts), encoded.nulls_written


def _file_body(results: Any, stack: ExitStack) -> Body:
    with no_fork:
        from callback_sdk.documents.result_files import file_body, path_body

    return path_body(Path(os.fsdecode(results))) if isinstance(results, os.PathLike) else file_body(results, stack)


def document(result: JobResult, param: Any, results: Body) -> Body:
    """Build the document for one target.

    Args:
        result: The job's outcome.
        param: The target's `callback_param`, without credentials.
        results: The encoded results from `encode_results`; replaced by `null` if the job failed.

    Returns:
        The document, with members in the order of the wire format; for a failed job, `error` is the last.

    Raises:
        EncodingError: `callback_param` can't be represented in JSON.
    """
    head = (
        b'{"job_id":%b,"status":%b,"callback_param":%b,"success":%b,"results":'
        % (
            encode(result.job_id, path="job_id").data,
            encode(result.status, path="status").data,
            _encoded_param(param),
            b"true" if result.success else b"false",
        )
    )  # fmt: skip
    if result.success:
        return Body(head, *results.parts, b"}")
    return Body(head, b'null,"error":%b}' % encode(result.error, path="error").data)


def _encoded_param(param: Any) -> bytes:
    # Without one, as for most targets, there is nothing to check.
    is_empty = isinstance(param, dict) and not param
    return b"{}" if is_empty else encode(param, path="callback_param", only_finite=True).data


def reference_document(result: JobResult, param: Any, **urls: str) -> Body:
    """Build a document that refers to the results by URL, for a target with a size limit.

    Args:
        result: The job's outcome.
        param: The target's `callback_param`, without credentials.
        **urls: `results_url`, the URL of the full document without a signature, or `task_url`, that of the task in
            the service's API.

    Returns:
        The document, with the URL instead of `results`.
    """
    members = {
        "job_id": result.job_id,
        "status": result.status,
        "callback_param": param,
        "success": result.success,
        **urls,
    }
    return Body(encode(members, path="the document", only_finite=True).data)
