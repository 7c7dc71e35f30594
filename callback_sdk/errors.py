"""Every error of the package, in one tree.

::

    CallbackSDKError
    ├── ConfigurationError               a setting is missing or wrong
    │   └── MissingExtraError            an optional dependency is not installed
    ├── SigningError                     a URL or a policy can't be signed as asked
    ├── TargetError                      nothing was sent, and sending again won't help
    │   ├── InvalidTargetError           not a URL that a result can go to
    │   │   └── WrongOperationError      signed for something other than the upload of one complete object
    │   ├── CallbackParamError           callback_param doesn't fit callback_url
    │   ├── MissingS3FieldsError         an object store, but neither signature nor s3_fields
    │   ├── InvalidS3FieldsError         s3_fields aren't what generate_presigned_post returned
    │   ├── TargetExpiredError           the signature's time is over
    │   ├── PolicyError                  the POST policy would refuse this upload
    │   ├── SignedHeaderError            a header was signed whose value nobody knows
    │   ├── ResultTooLargeError          more bytes than the target takes
    │   └── AddressNotAllowedError       the address guard refuses the host
    ├── EncodingError                    a result that JSON can't hold, with the path to it
    ├── FeaturesError                    features that are no table, or not the one that an algorithm takes
    ├── ParametersError                  parameters that an algorithm doesn't take
    ├── WebhookVerificationError         a webhook whose signature doesn't hold
    ├── DeliveryError                    a target was tried and does not have the result
    │   └── MultipleDeliveryErrors       two or more targets failed
    ├── OutboxError                      the outbox can't keep or change what it was given
    ├── AIStoreError                     AIStore can't be used as if it were S3
    │   ├── RedirectError                a redirect that is not followed
    │   │   ├── RedirectHostError        it leads out of the cluster
    │   │   ├── RedirectLoopError        it leads back to where it came from
    │   │   └── TooManyRedirectsError
    │   ├── BodyNotRewindableError       an upload that can't be sent again from its beginning
    │   └── AIStoreLoginError            AuthN gave no token
    ├── AlgorithmError                   an algorithm failed, or is not registered
    │   └── UnknownAlgorithmError
    └── ServiceError                     the service did not do what was asked
        ├── ServiceConnectionError       no answer
        ├── AuthenticationError          401, 403
        ├── NotFoundError                404
        ├── ConflictError                409
        ├── InvalidRequestError          any other 4xx
        ├── ResponseTooLargeError        more bytes than the client reads
        ├── TaskTimeoutError             the task goes on, the waiting ended
        └── TaskFailedError              the task ended without a result

Each text says what to do next. Each URL in a text is without its query: a signed URL is a credential.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING

from callback_sdk.text.escaping import escaped

if TYPE_CHECKING:
    from callback_sdk.receipt import Receipt


class CallbackSDKError(Exception):
    """Root of every error that this package raises on purpose.

    Attributes:
        message: What went wrong.
        hint: What to do next; may be empty when the message says it.
        receipts: Proof of what other targets of the same call did receive.
        accepted_job_ids: Ids of the tasks that a batch had submitted before the error, in order.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        # Its text may quote a server, a file's name or an algorithm, and is printed and logged as it is.
        message, hint = escaped(message, lines=True), escaped(hint, lines=True)
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.receipts: tuple[Receipt, ...] = ()
        self.accepted_job_ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class ConfigurationError(CallbackSDKError, ValueError):
    """A setting is missing or wrong; the text names it."""


class MissingExtraError(ConfigurationError, ImportError):
    """An optional dependency is not installed; the text has the pip command.

    Attributes:
        what: What is missing.
        extra: The extra of this package that brings it.
    """

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(f"{what} is not installed.", hint=f"pip install 'callback-sdk[{extra}]'")
        self.what = what
        self.extra = extra

    def __reduce__(self) -> tuple[object, ...]:
        return (_missing_extra, (self.what, self.extra), self.__dict__)


def _missing_extra(what: str, extra: str) -> MissingExtraError:
    return MissingExtraError(what, extra=extra)


class SigningError(CallbackSDKError, ValueError):
    """A URL or a policy can't be signed as asked."""


class TargetError(CallbackSDKError, ValueError):
    """A result can't go to this target. Nothing was sent.

    Attributes:
        url: The target without its query; None when there is no single one.
    """

    def __init__(self, message: str, *, hint: str = "", url: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.url = url


class InvalidTargetError(TargetError):
    """Not a URL that a result can go to."""


class WrongOperationError(InvalidTargetError):
    """The URL was signed for something other than the upload of one complete object, such as one part of it."""


class CallbackParamError(TargetError):
    """`callback_param` doesn't fit `callback_url`."""


class MissingS3FieldsError(TargetError):
    """The URL is an object store's, without a signature and without `s3_fields`."""


class InvalidS3FieldsError(TargetError):
    """`s3_fields` are not those that `generate_presigned_post` returned."""


class TargetExpiredError(TargetError):
    """The time that the target was signed for is over."""


class PolicyError(TargetError):
    """The target's POST policy would refuse this upload."""


class SignedHeaderError(TargetError):
    """The URL signed a header whose value is not known, or can't be met."""


class ResultTooLargeError(TargetError):
    """The document has more bytes than the target takes."""


class AddressNotAllowedError(TargetError):
    """The address guard refuses the target's host.

    Attributes:
        resolved: Whether that is so because of the addresses that its name leads to, and not of the URL itself.
    """

    def __init__(self, message: str, *, hint: str = "", url: str | None = None, resolved: bool = False) -> None:
        super().__init__(message, hint=hint, url=url)
        self.resolved = resolved


class EncodingError(CallbackSDKError, ValueError):
    """A result holds something that JSON can't.

    Attributes:
        path: Where it is, such as `results.predictions[3].when`.
    """

    def __init__(self, message: str, *, hint: str = "", path: str = "results") -> None:
        super().__init__(message, hint=hint)
        self.path = path


class FeaturesError(CallbackSDKError, ValueError):
    """Features that are neither a table nor a file with one, or not what the algorithm takes.

    Attributes:
        column: The column that is wrong; None when it is no single one.
        row: The row in which it is, counted from 0; None when it is no single one.
    """

    def __init__(self, message: str, *, hint: str = "", column: str | None = None, row: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.column = column
        self.row = row


class ParametersError(CallbackSDKError, ValueError):
    """Parameters that are not what the algorithm takes."""


class WebhookVerificationError(CallbackSDKError, ValueError):
    """A webhook's signature doesn't hold, or its time is too far off."""


class DeliveryError(CallbackSDKError):
    """A target was tried and does not have the result.

    Attributes:
        url: The target without its query.
        status: The last answer's HTTP status; None when there was no answer.
        code: The store's own error code, such as `SignatureDoesNotMatch`.
        retryable: Whether a later attempt may succeed. The service and the outbox then retry on their schedule.
        transient: Whether it may pass by itself within minutes; `ResultsWriter.write` retries only then. An expired
            certificate, for example, is retryable but not transient: somebody has to renew it.
        attempts: Tries that were made.
        retry_after: Seconds that the server asked to wait; None when it didn't say.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        url: str | None = None,
        status: int | None = None,
        code: str | None = None,
        retryable: bool = False,
        transient: bool | None = None,
        attempts: int = 1,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.url = url
        self.status = status
        self.code = code
        self.retryable = retryable
        self.transient = retryable if transient is None else transient
        self.attempts = attempts
        self.retry_after = retry_after


class MultipleDeliveryErrors(DeliveryError):  # noqa: N818 - a group: `errors` has each of them
    """Two or more targets failed.

    Attributes:
        errors: What happened at each, in the order of the targets.
    """

    def __init__(self, errors: Sequence[CallbackSDKError]) -> None:
        lines = "".join(f"\n  - {error}" for error in errors)
        super().__init__(
            f"{len(errors)} targets do not have the result:{lines}",
            retryable=any(isinstance(error, DeliveryError) and error.retryable for error in errors),
            transient=any(isinstance(error, DeliveryError) and error.transient for error in errors),
        )
        self.errors = tuple(errors)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.errors,), {"receipts": self.receipts})


class OutboxError(CallbackSDKError):
    """The outbox can't keep or change what it was given; what it has already is safe."""


class AIStoreError(CallbackSDKError):
    """AIStore can't be used as if it were S3."""


class RedirectError(AIStoreError):
    """AIStore redirected a request, and it is not followed: where to is missing or makes no sense.

    Attributes:
        urls: Where the request went so far, and where it was to go, without their queries.
    """

    def __init__(self, message: str, *, hint: str = "", urls: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.urls = tuple(urls)


class RedirectHostError(RedirectError):
    """A redirect leads to a host that isn't the cluster's, or from https to http."""


class RedirectLoopError(RedirectError):
    """A redirect leads back to where the request was already."""


class TooManyRedirectsError(RedirectError):
    """A request was redirected more often than is allowed."""


class BodyNotRewindableError(AIStoreError):
    """An upload must be sent again from its beginning, and its body can't go back there."""


class AIStoreLoginError(AIStoreError):
    """AIStore's AuthN gave no token."""


class AlgorithmError(CallbackSDKError):
    """An algorithm failed, or can't be run as asked."""


class UnknownAlgorithmError(AlgorithmError, LookupError):
    """No algorithm, or no version of it, has this name."""


class ServiceError(CallbackSDKError):
    """The service did not do what was asked.

    Attributes:
        status: HTTP status of the answer; None when there was none.
        request_id: The service's id of the request, to find it in its log.
        retry_after: Seconds that the service asked to wait; None when it didn't say.
        job_id: The task that it is about; None when it is about no single one.
        idempotency_key: What makes the same submission safe to repeat; None when nothing may have been submitted.
        nothing_accepted: Whether the service said that it accepted nothing of this request.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        job_id: str | None = None,
        idempotency_key: str | None = None,
        nothing_accepted: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after
        self.job_id = job_id
        self.idempotency_key = idempotency_key
        self.nothing_accepted = nothing_accepted


class ServiceConnectionError(ServiceError):
    """The service gave no answer."""


class ResponseTooLargeError(ServiceError):
    """The service's response is larger than the client reads. A task that it is about is not affected."""


class AuthenticationError(ServiceError):
    """The token is missing, wrong, or not allowed to do this."""


class NotFoundError(ServiceError):
    """No such algorithm or task."""


class ConflictError(ServiceError):
    """The request contradicts an earlier one."""


class InvalidRequestError(ServiceError):
    """The service refuses the request as it is."""


class TaskTimeoutError(ServiceError, TimeoutError):
    """The waiting ended before the task did; the task goes on."""


class TaskFailedError(ServiceError):
    """The task ended without a result.

    Attributes:
        reason: What the service says of it, word by word; None when it doesn't.
    """

    def __init__(self, message: str, *, hint: str = "", job_id: str | None = None, reason: str | None = None) -> None:
        super().__init__(message, hint=hint, job_id=job_id)
        self.reason = reason


def sentence(text: str) -> str:
    """Return a text of somebody else's with the full stop that it may lack, and otherwise word by word."""
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def storage_hint(error: OSError, place: object) -> str:
    """Return what to do about a file that can't be written, which depends on the cause.

    Args:
        error: Why it can't.
        place: Its folder or disk, as hints call it.
    """
    if error.errno == errno.EFBIG:
        return (
            f"The file would be larger than this process may write (ulimit -f), or than the file system of {place} "
            "takes: raise that limit."
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"Free space in {place}, or raise its quota."
    return f"Check that {place} exists and can be written, and that its disk works."


def type_name(value: object) -> str:
    """Return the name of a value's type with its module: NumPy has its own bool, and any table is a DataFrame."""
    kind = type(value)
    return (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
