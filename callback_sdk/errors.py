"""Every error of the package, in one tree.

::

    CallbackSDKError
    ├── ConfigurationError               a setting is missing or wrong
    │   └── MissingExtraError            an optional dependency is not installed
    ├── SigningError                     a URL or a policy can't be signed as requested
    ├── TargetError                      invalid target; nothing was sent, and a retry won't help
    │   ├── InvalidTargetError           not a URL that accepts results
    │   │   ├── UnsupportedFeatureError  something that the provider documents as unsupported
    │   │   └── WrongOperationError      signed for something other than the upload of one complete object
    │   ├── CallbackParamError           callback_param doesn't fit callback_url
    │   ├── MissingS3FieldsError         URL of an object store, without a signature or s3_fields
    │   ├── InvalidS3FieldsError         s3_fields that generate_presigned_post didn't return
    │   ├── TargetExpiredError           the signature has expired
    │   ├── PolicyError                  the POST policy doesn't allow this upload
    │   ├── SignedHeaderError            the value of a signed header is unknown
    │   ├── ResultTooLargeError          the document exceeds the target's size limit
    │   └── AddressNotAllowedError       SSRF protection blocked the address
    ├── EncodingError                    a value that JSON can't represent, with its path
    │   └── OutputError                  an output file that can't be delivered, with its name
    ├── FeaturesError                    features that aren't a table, or that an algorithm rejects
    ├── ParametersError                  parameters that can't be sent, or that an algorithm rejects
    ├── WebhookVerificationError         webhook signature verification failed
    ├── DocumentError                    received data that is not what the receiver expects
    │   └── BodyTooLargeError            it exceeds the receiver's limit
    ├── DeliveryError                    a delivery attempt failed
    │   ├── RefreshError                 the issuer gave no new target for an expired one
    │   └── MultipleDeliveryErrors       two or more targets failed
    ├── OutboxError                      the outbox can't store or change a delivery
    │   └── JobEndedError                the job's end was recorded before, for example at its time limit
    ├── AIStoreError                     an S3 request to AIStore can't be made
    │   ├── RedirectError                a redirect that isn't followed
    │   │   ├── RedirectHostError        to a host outside the cluster
    │   │   ├── RedirectLoopError        back to an earlier URL
    │   │   └── TooManyRedirectsError
    │   ├── BodyNotRewindableError       a request body that can't be sent again
    │   └── AIStoreLoginError            AuthN issued no token
    ├── AlgorithmError                   an algorithm failed, or is not registered
    │   └── UnknownAlgorithmError
    └── ServiceError                     a request to the service failed
        ├── ServiceConnectionError       no response
        ├── AuthenticationError          401, 403
        ├── NotFoundError                404
        ├── ConflictError                409
        ├── InvalidRequestError          any other 4xx
        ├── ResponseTooLargeError        the response exceeds the client's limit
        ├── TaskTimeoutError             the wait timed out; the task continues
        └── TaskFailedError              the task ended without a result
            └── TaskExpiredError         it was not started in time

Each text says what to do next. Each URL in a text is without its query: a signed URL is a credential.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.escaping import escape

if TYPE_CHECKING:
    from callback_sdk.receipt import Receipt


class CallbackSDKError(Exception):
    """Root of every error that this package raises on purpose.

    Attributes:
        message: Description of the problem.
        hint: Advice on the next step; may be empty if the message contains it.
        receipts: Receipts of other targets of the same call that received the result.
        accepted_job_ids: Ids of the tasks of a batch that were accepted before the error, in order.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        # Its text may quote a server, a file's name or an algorithm, and is printed and logged as it is.
        message, hint = escape(message, lines=True), escape(hint, lines=True)
        super().__init__(message)
        self.message = message
        self.hint = hint
        self._command_hint: str | None = None
        self.receipts: tuple[Receipt, ...] = ()
        self.accepted_job_ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    @property
    def command_hint(self) -> str:
        """The hint for users of `callback-sdk`, with its options in place of arguments."""
        return self.hint if self._command_hint is None else self._command_hint

    def add_hint(self, hint: str, command_hint: str | None = None) -> None:
        """Add a sentence to the hint.

        Args:
            hint: The sentence.
            command_hint: The sentence for users of `callback-sdk`; None for the same.
        """
        if command_hint is not None or self._command_hint is not None:
            self._command_hint = f"{self.command_hint} {escape(command_hint or hint, lines=True)}".strip()
        self.hint = f"{self.hint} {escape(hint, lines=True)}".strip()

    def replace_hint(self, hint: str) -> None:
        """Replace the hint by that of a caller who knows more."""
        self.hint, self._command_hint = escape(hint, lines=True), None


class ConfigurationError(CallbackSDKError, ValueError):
    """A setting is missing or wrong; the text names it."""


def install_hint(extra: str) -> str:
    """Return how to install an extra of this package. There is no release yet: it is installed from a checkout."""
    return f"In a checkout of callback_sdk: pip install '.[{extra}]'"


class MissingExtraError(ConfigurationError, ImportError):
    """An optional dependency is not installed; the text has the pip command.

    Attributes:
        what: Name of the missing dependency.
        extra: The extra of this package that installs it.
    """

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(f"{what} is not installed.", hint=install_hint(extra))
        self.what = what
        self.extra = extra

    def __reduce__(self) -> tuple[object, ...]:
        return (_missing_extra, (self.what, self.extra), self.__dict__)


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Import dependencies of an extra.

    Args:
        extra: The extra of this package that installs them.

    Raises:
        MissingExtraError: One of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("callback_sdk"):
            raise
        missing = MissingExtraError(error.name, extra=extra)
    else:
        return
    raise missing


def _missing_extra(what: str, extra: str) -> MissingExtraError:
    return MissingExtraError(what, extra=extra)


class SigningError(CallbackSDKError, ValueError):
    """A URL or a policy can't be signed as requested."""


class TargetError(CallbackSDKError, ValueError):
    """The target is invalid. Nothing was sent.

    Attributes:
        url: The target's URL without its query; None when the error isn't about a single target.
    """

    def __init__(self, message: str, *, hint: str = "", url: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.url = url


class InvalidTargetError(TargetError):
    """The URL doesn't accept results."""


class UnsupportedFeatureError(InvalidTargetError):
    """The target needs something that its object store doesn't support, such as POST forms at Cloudflare R2."""


class WrongOperationError(InvalidTargetError):
    """The URL was signed for something other than the upload of one complete object, such as one part of it."""


class CallbackParamError(TargetError):
    """`callback_param` doesn't fit `callback_url`."""


class MissingS3FieldsError(TargetError):
    """The URL is that of an object store, and has neither a signature nor `s3_fields`."""


class InvalidS3FieldsError(TargetError):
    """`s3_fields` are not those that `generate_presigned_post` returned."""


class TargetExpiredError(TargetError):
    """The target's signature has expired."""


class PolicyError(TargetError):
    """The target's POST policy doesn't allow this upload."""


class SignedHeaderError(TargetError):
    """The value of a signed header is unknown, or can't be sent."""


class ResultTooLargeError(TargetError):
    """The document exceeds the target's size limit."""


class AddressNotAllowedError(TargetError):
    """SSRF protection blocked the target's address.

    Attributes:
        resolved: Whether the addresses that the host resolves to were blocked, and not the URL itself.
    """

    def __init__(self, message: str, *, hint: str = "", url: str | None = None, resolved: bool = False) -> None:
        super().__init__(message, hint=hint, url=url)
        self.resolved = resolved


class EncodingError(CallbackSDKError, ValueError):
    """A result holds a value that JSON can't represent.

    Attributes:
        path: Path of the value, such as `results.predictions[3].when`.
    """

    def __init__(self, message: str, *, hint: str = "", path: str = "results") -> None:
        super().__init__(message, hint=hint)
        self.path = path


class OutputError(EncodingError):
    """An output file can't be delivered: its name or its content is invalid, or no target takes it.

    Attributes:
        name: Name of the file; None when the error isn't about a single file.
        retryable: Whether a later attempt may succeed: a stored file could not be read.
    """

    def __init__(self, message: str, *, hint: str = "", name: str | None = None, retryable: bool = False) -> None:
        super().__init__(message, hint=hint, path="outputs" if name is None else f"outputs[{short_repr(name)}]")
        self.name = name
        self.retryable = retryable


class FeaturesError(CallbackSDKError, ValueError):
    """Features that aren't a table or a file with one, or that the algorithm rejects.

    Attributes:
        column: The invalid column; None when the error isn't about a single column.
        row: The invalid row, counted from 0; None when the error isn't about a single row.
    """

    def __init__(self, message: str, *, hint: str = "", column: str | None = None, row: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.column = column
        self.row = row


class ParametersError(CallbackSDKError, ValueError):
    """Parameters that aren't a JSON object, or that the algorithm rejects."""


class WebhookVerificationError(CallbackSDKError, ValueError):
    """A webhook's signature is invalid, or its timestamp is outside the tolerance."""


class DocumentError(CallbackSDKError, ValueError):
    """What was received is not a result document, a notification of a bucket or a request for a target."""


class BodyTooLargeError(DocumentError):
    """A body exceeds the limit of its receiver.

    Attributes:
        max_bytes: The limit.
    """

    def __init__(self, max_bytes: int) -> None:
        super().__init__(
            f"The body has more than {max_bytes} bytes.", hint="Raise max_bytes of the receiver, or send less."
        )
        self.max_bytes = max_bytes

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.max_bytes,))


class DeliveryError(CallbackSDKError):
    """A delivery attempt failed.

    Attributes:
        url: The target without its query.
        status: HTTP status of the last response; None without a response.
        code: Error code of the object store, such as `SignatureDoesNotMatch`.
        retryable: Whether a later attempt may succeed. The service and the outbox then retry on their schedule.
        transient: Whether the failure may end within minutes; `ResultsWriter.write` retries only then. An expired
            certificate, for example, is retryable but not transient, because it has to be renewed.
        expired: Whether the store says that the signature, or the credentials behind it, has expired.
        attempts: Number of attempts made.
        retry_after: Seconds from the response's `Retry-After` (RFC 9110, section 10.2.3); None without it.
        response_body: The beginning of the response's body, without credentials, and escaped for terminals; empty
            without a response. It is not part of the message, as it may quote the document.
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
        expired: bool = False,
        attempts: int = 1,
        retry_after: float | None = None,
        response_body: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.url = url
        self.status = status
        self.code = code
        self.retryable = retryable
        self.transient = retryable if transient is None else transient
        self.expired = expired
        self.attempts = attempts
        self.retry_after = retry_after
        self.response_body = response_body


class RefreshError(DeliveryError):
    """A target has expired, and its issuer (`callback_param["refresh"]`) gave no new one that can be used.

    `url`, `status`, `code` and `retry_after` are those of the issuer and its response.
    """


class MultipleDeliveryErrors(DeliveryError):  # noqa: N818 - a group: `errors` has each of them
    """Two or more targets failed.

    Attributes:
        errors: The error of each, in the order of the targets.
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
    """The outbox can't store or change a delivery. Deliveries that it stored earlier are not affected."""


class JobEndedError(OutboxError):
    """The end of a job was recorded before by another process: at its time limit, or because it was taken for dead."""


class AIStoreError(CallbackSDKError):
    """An S3 request to AIStore can't be made."""


class RedirectError(AIStoreError):
    """AIStore redirected a request without a valid `Location`, or to one that isn't followed.

    Attributes:
        urls: URLs of the request so far and of the redirect, without their queries.
    """

    def __init__(self, message: str, *, hint: str = "", urls: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.urls = tuple(urls)


class RedirectHostError(RedirectError):
    """A redirect leads to a host outside the cluster, or from https to http."""


class RedirectLoopError(RedirectError):
    """A redirect leads back to a URL that the request was sent to earlier."""


class TooManyRedirectsError(RedirectError):
    """A request was redirected more often than is allowed."""


class BodyNotRewindableError(AIStoreError):
    """A request must be sent again, and its body can't be read from the beginning."""


class AIStoreLoginError(AIStoreError):
    """AIStore's AuthN issued no token."""


class AlgorithmError(CallbackSDKError):
    """An algorithm failed, or can't be run as requested."""


class UnknownAlgorithmError(AlgorithmError, LookupError):
    """No algorithm, or no version of it, has this name."""


class ServiceError(CallbackSDKError):
    """A request to the service failed.

    Attributes:
        status: HTTP status of the response; None without a response.
        request_id: Id of the request in the service's log.
        retry_after: Delay requested by the service, in seconds; None if it requested none.
        job_id: Id of the task; None if the error isn't about a single task.
        idempotency_key: Key with which the same submission can be repeated safely; None if nothing was submitted.
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
    """The service did not respond."""


class ResponseTooLargeError(ServiceError):
    """The service's response is larger than the client reads. A task that it is about is not affected."""


class AuthenticationError(ServiceError):
    """The token is missing, wrong, or not allowed to do this."""


class NotFoundError(ServiceError):
    """No such algorithm or task."""


class ConflictError(ServiceError):
    """The request contradicts an earlier one."""


class InvalidRequestError(ServiceError):
    """The service rejects the request as invalid."""


class TaskTimeoutError(ServiceError, TimeoutError):
    """The wait timed out before the task ended. The task continues."""


class TaskFailedError(ServiceError):
    """The task ended without a result.

    Attributes:
        reason: The service's reason, unchanged; None when it gives none.
    """

    def __init__(self, message: str, *, hint: str = "", job_id: str | None = None, reason: str | None = None) -> None:
        super().__init__(message, hint=hint, job_id=job_id)
        self.reason = reason


class TaskExpiredError(TaskFailedError):
    """The task was not started in time, and was not computed."""
