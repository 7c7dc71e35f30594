"""A delivery of one result to one target: the encoded document, and an id that is stable across attempts."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from attrs import define, evolve, field

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.documents.body import CHUNK_SIZE, Body
from callback_sdk.documents.document import document, encode_results, reference_document
from callback_sdk.errors import CallbackSDKError, DeliveryError, EncodingError, ResultTooLargeError, TargetExpiredError
from callback_sdk.models import JobResult
from callback_sdk.redaction import Secret
from callback_sdk.targets import Target
from callback_sdk.targets.upload import Upload
from callback_sdk.text.descriptions import short_repr
from callback_sdk.tracing import TRACEPARENT

MAX_REFRESHES = 8
"""New targets that an issuer is asked for within one `ResultsWriter.write`, and at most one for each attempt."""

_MAX_PATH = 4096
"""Characters of the longest string that is looked for as a path: PATH_MAX of Linux."""

_MAX_ESTIMATED = 1000
"""Values that are looked at for an estimate. Encoding them takes less time than handing them to a thread."""

_NUMBERS = frozenset({bool, float, int, type(None)})

_log = logging.getLogger(__name__)

FindURL = Callable[[], str | None]
"""Returns the URL of the results, for a webhook with a size limit; None if no object store has them."""


@define(frozen=True, kw_only=True, eq=False, repr=False)
class PreparedDelivery:
    """A delivery of one result to one target, ready to be sent.

    Attributes:
        target: The target.
        job_id: The job's id.
        delivery_id: Id of the delivery, stable across attempts; sent as the webhook's id.
        body: The encoded document.
        encoding: Its content encoding, or None.
        traceparent: Trace context from another process; None without one.
        output: Name of the output file that is delivered; None for the document.
        rebuild: Builds the same delivery for another target; None if the target has no issuer to ask for one.
        refreshes: How many targets the issuer has given for this delivery.
        stored_parts: What the store returned for parts that it has, by upload and number: these aren't sent again.
    """

    target: Target
    job_id: str
    delivery_id: str
    body: Body
    encoding: str | None
    traceparent: str | None = None
    output: str | None = None
    rebuild: Callable[[Target], PreparedDelivery] | None = field(default=None, repr=False, eq=False)
    refreshes: int = 0
    stored_parts: dict[str, dict[int, str]] = field(factory=dict, repr=False, eq=False)

    def upload(self, now: datetime, *, traceparent: str | None = None) -> Upload:
        """Return the request of one attempt.

        Args:
            now: The time of sending.
            traceparent: Value of the header `traceparent`, for webhooks (W3C Trace Context).

        Raises:
            TargetError: The target would reject the request.
        """
        upload = self.target.upload(self.body, delivery_id=self.delivery_id, now=now, encoding=self.encoding)
        if traceparent is None or not self.target.traced:
            return upload
        return evolve(upload, headers=Secret({**upload.headers.reveal(), TRACEPARENT: traceparent}))

    def may_refresh(self, error: CallbackSDKError) -> bool:
        """Return whether a new target helps after an error, and may be asked for."""
        expired = isinstance(error, TargetExpiredError) or (isinstance(error, DeliveryError) and error.expired)
        return expired and self.rebuild is not None and self.refreshes < MAX_REFRESHES

    def request(self, now: datetime, traceparent: str | None) -> tuple[Upload, bytes]:
        """Return the request of one attempt, and the SHA-256 of its document; see `upload`."""
        upload = self.upload(now, traceparent=traceparent)
        return upload, upload.document.sha256


OnRefresh = Callable[[PreparedDelivery], None]
"""Called with the delivery to a new target before it is sent there; if it raises, nothing is sent."""


def encoded_results(result: JobResult, stack: ExitStack) -> tuple[Body, int]:
    """Encode a job's results with `encode_results`; `null` for a failed job.

    Raises:
        EncodingError: The results can't be encoded as JSON, including if their own classes raise an exception.
    """
    if not isinstance(result, JobResult):
        raise EncodingError(
            f"The result is of type {type(result).__qualname__}, not a JobResult.",
            hint="Wrap it: JobResult(job_id=..., success=True, results=...).",
            path="result",
        )
    _warn_of_path(result)
    try:
        return encode_results(result.results if result.success else None, stack)
    except CallbackSDKError:
        raise
    except uninterrupted(Exception) as error:
        raise EncodingError(
            f"The results can't be encoded: reading them raised {type(error).__name__}.",
            hint="Convert them to numbers, strings, lists and dicts first. See the error's cause.",
        ) from error


def estimated_size(result: JobResult) -> int | None:
    """Return about how many bytes encoded results have; None if it takes long to tell."""
    size, left = 0, [getattr(result, "results", None)]
    for _ in range(_MAX_ESTIMATED):
        if not left:
            return size
        value = left.pop()
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, (dict, list, tuple)) and len(value) <= _MAX_ESTIMATED:
            members = [*value, *value.values()] if isinstance(value, dict) else value
            if _NUMBERS.issuperset(map(type, members)):
                size += 8 * len(members)
            else:
                left += members
        elif value is None or isinstance(value, (bool, float, int)):
            size += 8
        else:
            return None
    return None


def _warn_of_path(result: JobResult) -> None:
    """Warn of results that are a string and the name of a file: the string is delivered, which is rarely meant."""
    text = result.results
    if not isinstance(text, str) or not text or len(text) > _MAX_PATH:
        return
    # ValueError for a null character.
    with suppress(OSError, ValueError):
        if Path(text).is_file():
            _log.warning(
                "The results of job %s are the string %s, which is also the path of a file. The string is delivered; "
                "to deliver the file's content, give results=pathlib.Path(%s).",
                result.job_id,
                short_repr(text),
                short_repr(text),
            )


def build_delivery(
    target: Target,
    result: JobResult,
    results: Body,
    stack: ExitStack,
    *,
    compress: str | None,
    results_url: FindURL,
    task_url: str | None = None,
    delivery_id: str | None = None,
    traceparent: str | None = None,
    outputs: Mapping[str, Mapping[str, Any]] | None = None,
) -> PreparedDelivery:
    """Build the delivery of a result to one target.

    Args:
        target: The target.
        result: The job's outcome, without its results.
        results: The encoded results.
        stack: Keeps the file of a compressed document open.
        compress: `"gzip"` or None; the encoding in the target's signature takes precedence.
        results_url: Called if the document exceeds the target's size limit.
        task_url: URL of the task, for such a target if no object store has the results.
        delivery_id: Id of the delivery; derived from target and document when None.
        traceparent: Trace context from another process; None without one.
        outputs: What the document has of each output file, by name; None without output files.

    Raises:
        TargetError: The target doesn't accept the document.
    """
    if outputs:
        # Imported here, because few results have output files.
        with no_fork:
            from callback_sdk.documents.output_list import add_list, open_results

        results = add_list(open_results(results), outputs)
    whole = document(result, target.callback.param, results)
    delivery_id = delivery_id or stable_delivery_id(target, whole)
    body = _inline_or_reference(target, result, whole, results_url, task_url)
    encoding = target.content_encoding(compress)
    if encoding == "gzip":
        with no_fork:
            from callback_sdk.documents.result_files import gzip_body

        body = gzip_body(body, stack)
    return PreparedDelivery(
        target=target,
        job_id=result.job_id,
        delivery_id=delivery_id,
        body=body,
        encoding=encoding,
        traceparent=traceparent,
    )


def stable_delivery_id(target: Target, body: Body) -> str:
    """Return an id derived from target and document, so that it stays the same after a crash.

    A document in parts is read while it is sent: its size and its beginning, which has the job's id, have to suffice.
    """
    digest = hashlib.sha256(target.callback.url.reveal().encode("utf-8", "surrogatepass"))
    in_parts = target.in_parts(body.size, None) is not None
    content = body.cut(0, CHUNK_SIZE).sha256 + b"%d" % body.size if in_parts else body.sha256
    digest.update(f"\n{target.object_url('')}\n".encode() + content)
    return f"msg_{digest.hexdigest()[:32]}"


def _inline_or_reference(
    target: Target, result: JobResult, whole: Body, results_url: FindURL, task_url: str | None
) -> Body:
    if target.max_inline_bytes is None or whole.size <= target.max_inline_bytes or not result.success:
        return whole
    url, where = target.callback.url, results_url()
    if where is not None:
        return reference_document(result, target.callback.param, results_url=where)
    if task_url is None:
        raise ResultTooLargeError(
            f"The document has {whole.size} bytes, and the webhook {url} accepts {target.max_inline_bytes}.",
            hint="Add an object store as another target: the webhook then gets the URL of the results. "
            "A program with its own ResultsWriter may raise max_webhook_bytes.",
            url=str(url),
        )
    return reference_document(result, target.callback.param, task_url=task_url)
