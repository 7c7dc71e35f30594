"""One task's result on its way to one target: the bytes, their encoding, and an id that stays."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime

from attrs import define, evolve

from callback_sdk.documents.body import Body
from callback_sdk.documents.document import document, encode_results, reference
from callback_sdk.documents.result_files import gzip_body
from callback_sdk.errors import CallbackSDKError, EncodingError, ResultTooLargeError
from callback_sdk.models import JobResult
from callback_sdk.redaction import Secret
from callback_sdk.targets import Target
from callback_sdk.targets.upload import Upload
from callback_sdk.tracing import TRACEPARENT

FindURL = Callable[[], str | None]
"""Tells where the results are, for a target that is too small for them."""


@define(frozen=True, kw_only=True)
class PreparedDelivery:
    """What one target is to receive.

    Attributes:
        target: Where to.
        job_id: The job whose result it is.
        delivery_id: Stable over all tries; a webhook's id.
        body: The document, encoded.
        encoding: Its content encoding.
        traceparent: The trace that it belongs to.
    """

    target: Target
    job_id: str
    delivery_id: str
    body: Body
    encoding: str | None
    traceparent: str | None = None

    def upload(self, now: datetime, *, traceparent: str | None = None) -> Upload:
        """Return the request for one try.

        Args:
            now: The time of sending.
            traceparent: What a webhook is told of the trace.

        Raises:
            TargetError: The target would refuse it.
        """
        upload = self.target.upload(self.body, delivery_id=self.delivery_id, now=now, encoding=self.encoding)
        if traceparent is None or not self.target.traced:
            return upload
        return evolve(upload, headers=Secret({**upload.headers.reveal(), TRACEPARENT: traceparent}))


def encoded_results(result: JobResult, stack: ExitStack) -> tuple[Body, int]:
    """Make the bytes of a job's results, as `encode_results` does; `null` for a job that failed.

    Raises:
        EncodingError: JSON can't hold them. Values may be of anybody's classes, so whatever those raise becomes one.
    """
    if not isinstance(result, JobResult):
        raise EncodingError(
            f"The result is of type {type(result).__qualname__}, not a JobResult.",
            hint="Wrap it: JobResult(job_id=..., success=True, results=...).",
            path="result",
        )
    try:
        return encode_results(result.results if result.success else None, stack)
    except CallbackSDKError:
        raise
    except Exception as error:
        raise EncodingError(
            f"The results can't be encoded: {type(error).__name__} was raised while they were read.",
            hint="Turn them into numbers, strings, lists and dicts first. The error's cause says what went wrong.",
        ) from error


def build_delivery(
    target: Target,
    result: JobResult,
    results: Body,
    stack: ExitStack,
    *,
    compress: str | None,
    results_url: FindURL,
    delivery_id: str | None = None,
    traceparent: str | None = None,
) -> PreparedDelivery:
    """Make what one target is to receive.

    Args:
        target: Where to.
        result: The job's own members.
        results: The bytes of its results.
        stack: Keeps a compressed document open.
        compress: `"gzip"` or None; the target's own signature comes first.
        results_url: Asked when the target is too small for the results.
        delivery_id: Made from the place and the document when None.
        traceparent: The trace that it belongs to.

    Raises:
        TargetError: The target can't have it.
    """
    whole = document(result, target.callback.param, results)
    delivery_id = delivery_id or stable_delivery_id(target, whole)
    body = _inline_or_reference(target, result, whole, results_url)
    encoding = target.content_encoding(compress)
    body = gzip_body(body, stack) if encoding == "gzip" else body
    return PreparedDelivery(
        target=target,
        job_id=result.job_id,
        delivery_id=delivery_id,
        body=body,
        encoding=encoding,
        traceparent=traceparent,
    )


def stable_delivery_id(target: Target, body: Body) -> str:
    """Return an id that is the same whenever the same document goes to the same place, also after a crash."""
    digest = hashlib.sha256(target.callback.url.reveal().encode("utf-8", "surrogatepass"))
    digest.update(f"\n{target.object_url('')}\n".encode() + body.sha256)
    return f"msg_{digest.hexdigest()[:32]}"


def _inline_or_reference(target: Target, result: JobResult, whole: Body, results_url: FindURL) -> Body:
    if target.max_inline_bytes is None or whole.size <= target.max_inline_bytes or not result.success:
        return whole
    url, where = target.callback.url, results_url()
    if where is None:
        raise ResultTooLargeError(
            f"The document has {whole.size} bytes, and the webhook {url} takes {target.max_inline_bytes}.",
            hint="Give an object store as another target of the task: the webhook then says where the results are. "
            "A program with a ResultsWriter of its own may raise that one's max_webhook_bytes.",
            url=str(url),
        )
    return reference(result, target.callback.param, where)
