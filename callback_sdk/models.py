"""The values that travel through the package, frozen, and their wire form."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import define, field

from callback_sdk.errors import (
    CallbackSDKError,
    ConfigurationError,
    EncodingError,
    InvalidRequestError,
    InvalidTargetError,
    OutputError,
)
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import Secret, SecretFields, SecretURL, without_credentials
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.html import HTMLRepr

PENDING = "Pending"
IN_PROGRESS = "In Progress"
FINISHED = "Finished"
CANCELED = "Canceled"

SUCCEEDED = "Succeeded"
FAILED = "Failed"
EXPIRED = "Expired"

_ROUNDING = 0.01
"""How far sums of rounded steps may be outside of 0 to 1."""

FRACTION_HINT = "Give a number from 0 to 1: 50 % is 0.5."

EXPIRED_CODE = "expired"
"""The error code of a task that was not started in time."""


def outcome(status: str, success: bool | None, error_code: str | None) -> str | None:
    """Return how a task ended: `"Succeeded"`, `"Failed"`, `"Expired"` or `"Canceled"`; None until then.

    Args:
        status: The task's status.
        success: Whether it has results.
        error_code: Kind of its error.
    """
    if status == CANCELED:
        return CANCELED
    if status != FINISHED:
        return None
    if success:
        return SUCCEEDED
    return EXPIRED if error_code == EXPIRED_CODE else FAILED


def fraction_of(value: Any) -> float | None:
    """Return a fraction as a float, within its limits or not; None for None and NaN.

    Raises:
        ConfigurationError: It is not a number.
    """
    if value is None:
        return None
    try:
        number = float("x" if isinstance(value, (str, bytes)) else value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        raise ConfigurationError(f"The fraction of the progress is {short_repr(value)}.", hint=FRACTION_HINT) from None
    return None if math.isnan(number) else number


def is_fraction(number: float | None) -> bool:
    """Return whether a number is from 0 to 1, but for errors of rounding."""
    return number is None or -_ROUNDING <= number <= 1 + _ROUNDING


def clip(number: float | None) -> float | None:
    """Return the nearest number from 0 to 1."""
    return None if number is None else min(max(number, 0.0), 1.0)


def _fraction(value: Any) -> float | None:
    number = fraction_of(value)
    if not is_fraction(number):
        raise ConfigurationError(f"The fraction of the progress is {short_repr(value)}.", hint=FRACTION_HINT)
    return clip(number)


@define(frozen=True)
class Progress:
    """Progress of a task, as an algorithm yields it and as the client returns it.

    Attributes:
        fraction: Fraction done, between 0 and 1; None or NaN if unknown.
        message: Current step, for people.

    Raises:
        ConfigurationError: The fraction is not a number from 0 to 1.
    """

    fraction: float | None = field(default=None, converter=_fraction)
    message: str = field(default="", converter=str)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None) -> Progress:
        """Parse the JSON form; None means no progress."""
        if not data:
            return cls()
        return cls(fraction=clip(fraction_of(data.get("fraction"))), message=data.get("message") or "")


def check_job_id(job_id: str) -> None:
    """Check the id of a job.

    Raises:
        EncodingError: It is not a string, or it is empty.
    """
    if not isinstance(job_id, str):
        raise EncodingError(
            f"job_id is {short_repr(job_id)}, of type {type(job_id).__name__}.",
            hint="Give a string, such as job_id=str(number).",
            path="job_id",
        )
    if not job_id:
        raise EncodingError("job_id is empty.", hint="Give the id of the job that the result is of.", path="job_id")


def _plain_bool(success: bool) -> bool:
    # What NumPy's comparisons return; its name was bool_ before NumPy 2. It may not be installed.
    kind = type(success)
    return bool(success) if kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_") else success


def _check_success(_: object, __: object, success: bool) -> None:
    if not isinstance(success, bool):
        raise EncodingError(f"success is of type {type(success).__name__}.", hint="Give True or False.", path="success")


def _check_error(_: object, __: object, error: str | None) -> None:
    if error is not None and not isinstance(error, str):
        raise EncodingError(
            f"error is of type {type(error).__name__}.",
            hint="Give the message as a string, such as error=str(exception).",
            path="error",
        )


def _check_status(_: object, __: object, status: str) -> None:
    if status not in (FINISHED, CANCELED):
        raise EncodingError(
            f"status is {short_repr(status)}.", hint=f"Give {FINISHED!r} or {CANCELED!r}.", path="status"
        )


def _check_outputs(result: JobResult, __: object, outputs: Mapping[str, Any] | None) -> None:
    if outputs is None:
        return
    if not isinstance(outputs, Mapping):
        raise OutputError(
            f"outputs is of type {type(outputs).__name__}.",
            hint="Give a dict from the names of the files to their values: outputs={'model.bin': path}.",
        )
    if outputs and not result.success:
        raise OutputError(
            "A failed job has no results, which could list its output files.",
            hint="Leave outputs out, or give success=True with results that tell what failed.",
        )


@define(frozen=True, kw_only=True)
class JobResult:
    """Outcome of a job: its results, or the error.

    Attributes:
        job_id: The task's id.
        success: Whether there are results.
        results: Anything that JSON can hold, NumPy, pandas and Arrow included, or a path
            (`pathlib.Path`) or a binary file object with a JSON document in it. A file is checked to be JSON, streamed,
            and must stay as it is until it is delivered.
        error: Error message of a failed job, with `success=False`.
        status: `"Finished"`, or `"Canceled"` for a canceled task.
        outputs: Output files by their names, such as `{"model.bin": path}`: paths of files and directories, bytes,
            binary file objects, figures and tables. Results must be a dict or None then; they list the files.

    Raises:
        EncodingError: The id is empty, or an attribute has the wrong type.
    """

    job_id: str = field(validator=lambda result, attribute, value: check_job_id(value))
    success: bool = field(converter=_plain_bool, validator=_check_success)
    results: Any = field(default=None, repr=False)
    error: str | None = field(default=None, validator=_check_error)
    status: str = field(default=FINISHED, validator=_check_status)
    outputs: Mapping[str, Any] | None = field(default=None, validator=_check_outputs, repr=False)


@define(frozen=True, kw_only=True, eq=False)
class WriteOutcome(HTMLRepr):
    """Outcome of one item of `ResultsWriter.write_many`.

    Attributes:
        job_id: The job's id; None if the item was not valid.
        receipts: Receipts of the targets that have the result, in the targets' order.
        error: What `ResultsWriter.write` would have raised; None if all targets have the result.
    """

    job_id: str | None
    receipts: tuple[Receipt, ...] = ()
    error: CallbackSDKError | None = None

    def _html_fields(self) -> dict[str, Any]:
        error = None if self.error is None else str(self.error)
        return {"job id": self.job_id, "receipts": len(self.receipts), "error": error}


# Not `frozen=True`, whose __init__ takes longer than a signature: properties without setters do the same here.
@define(kw_only=True, repr=False, unsafe_hash=True)
class PresignedPut:
    """A presigned PUT URL, with the headers that were signed into it."""

    _url: Secret[str]
    _headers: SecretFields
    _expires_at: datetime

    @property
    def url(self) -> str:
        """The complete URL. It is a credential: anyone who has it can upload until it expires."""
        return self._url.reveal()

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the upload must carry, in lower case, `host` left out."""
        return dict(self._headers.reveal())

    @property
    def callback_param(self) -> dict[str, Any]:
        """The `callback_param` to submit with the URL, which contains the signed headers."""
        return {"s3_headers": self.headers} if self._headers.reveal() else {}

    @property
    def expires_at(self) -> datetime:
        """When the signature expires, in UTC."""
        return self._expires_at

    def __repr__(self) -> str:
        return f"PresignedPut({SecretURL(self.url)}, headers={self._headers}, expires_at={self.expires_at})"


@define(kw_only=True, repr=False, unsafe_hash=True)
class _PresignedForm:
    """A presigned POST: a URL and the form's fields."""

    _url: Secret[str]
    _fields: SecretFields
    _expires_at: datetime

    @property
    def url(self) -> str:
        """The plain URL of the bucket; no credential without the fields."""
        return self._url.reveal()

    @property
    def fields(self) -> dict[str, str]:
        """The plain fields, in the order in which the form holds them. They are a credential."""
        return dict(self._fields.reveal())

    @property
    def expires_at(self) -> datetime:
        """When the policy expires, in UTC."""
        return self._expires_at


@define(kw_only=True, repr=False, unsafe_hash=True)
class PresignedPost(_PresignedForm):
    """A presigned POST: a URL and the form's fields, as `generate_presigned_post` returns them."""

    @property
    def callback_param(self) -> dict[str, Any]:
        """The `callback_param` to submit with the URL, which contains the form fields."""
        return {"s3_fields": self.fields}

    def __repr__(self) -> str:
        return f"PresignedPost({SecretURL(self.url)}, fields={self._fields}, expires_at={self.expires_at})"


@define(kw_only=True, repr=False, unsafe_hash=True)
class PresignedPrefix(_PresignedForm):
    """A presigned POST of any number of objects: the document of a result and its output files, below one prefix.

    The key among its fields ends with `${filename}`, as forms of browsers have it.
    """

    _document: str

    @property
    def callback_param(self) -> dict[str, Any]:
        """The `callback_param` to submit with the URL, which contains the form fields and the document's name."""
        return {"s3_fields": self.fields, "s3_prefix": {"document": self._document}}

    def __repr__(self) -> str:
        fields = f"fields={self._fields}, document={self._document!r}"
        return f"PresignedPrefix({SecretURL(self.url)}, {fields}, expires_at={self.expires_at})"


@define(kw_only=True, repr=False, unsafe_hash=True)
class PresignedMultipart:
    """A presigned multipart upload: URLs that send its parts, complete it and abort it."""

    _url: Secret[str]
    _parts: Secret[dict[str, Any]]
    _headers: SecretFields
    _expires_at: datetime

    @property
    def url(self) -> str:
        """The complete URL that completes the upload. It is a credential, as are those of the parts."""
        return self._url.reveal()

    @property
    def callback_param(self) -> dict[str, Any]:
        """The `callback_param` to submit with the URL, which contains all other URLs and the signed headers."""
        headers = {"s3_headers": dict(self._headers.reveal())} if self._headers.reveal() else {}
        return {"s3_parts": copy.deepcopy(self._parts.reveal()), **headers}

    @property
    def expires_at(self) -> datetime:
        """When the signatures of parts and completion expire, in UTC."""
        return self._expires_at

    @property
    def part_size(self) -> int:
        """Bytes of each part but the last one."""
        return int(self._parts.reveal()["part_size"])

    @property
    def max_bytes(self) -> int:
        """Maximum size of the object: that of all parts together."""
        return self.part_size * len(self._parts.reveal()["urls"])

    def __repr__(self) -> str:
        size = f"part_size={self.part_size}, max_bytes={self.max_bytes}"
        return f"PresignedMultipart({SecretURL(self.url)}, {size}, expires_at={self.expires_at})"


DELIVERY_STATES = ("dead", "failing", "late", "undelivered", "pending", "delivered")

LATE = 600.0
"""Seconds after the end of its task from which a pending delivery is late."""

_MAX_FILTER_TEXT = 300
"""Maximum characters of a value in a filter."""

_FILTER_TEXTS = ("status", "host", "algorithm", "user", "error")
_FILTER_TIMES = ("since", "until")


def _check_filter_text(_: object, attribute: Any, text: str | None) -> None:
    if text is not None and not isinstance(text, str):
        raise InvalidRequestError(f"{attribute.name} is {short_repr(text)}.", hint="Give a string, or None.")
    if text is not None and not (0 < len(text) <= _MAX_FILTER_TEXT and all(map(_is_character, text))):
        raise InvalidRequestError(
            f"{attribute.name} is {short_repr(text)}.",
            hint=f"Give 1 to {_MAX_FILTER_TEXT} characters without NUL and lone surrogates.",
        )


def _is_character(one: str) -> bool:
    # PostgreSQL takes no NUL, and no URL a lone surrogate.
    return one != "\0" and not "\ud800" <= one <= "\udfff"


def _check_filter_host(instance: object, attribute: Any, text: str | None) -> None:
    _check_filter_text(instance, attribute, text)
    if text is not None and ("://" in text or host_name(text) is None):
        raise InvalidRequestError(
            f"host is {without_credentials(short_repr(text))}.",
            hint="Give the name alone, without scheme, port and path, such as hooks.example.org.",
        )


def host_name(text: str) -> str | None:
    """Return a host as URLs of targets have it: in lower case and ASCII, IPv6 without brackets; None if it is none."""
    is_bare_ipv6 = text.count(":") > 1 and not text.startswith("[")
    try:
        url = SecretURL(f"https://[{text}]" if is_bare_ipv6 else f"https://{text}")
    except InvalidTargetError:
        return None
    is_alone = url.port is None and not url.path and not url.has_userinfo and not {"?", "#"} & set(text)
    return url.host if is_alone else None


def _check_filter_status(_: object, __: object, status: str | None) -> None:
    if status is not None and (not isinstance(status, str) or status not in DELIVERY_STATES):
        raise InvalidRequestError(f"status is {short_repr(status)}.", hint=f"Give one of {', '.join(DELIVERY_STATES)}.")


def _check_filter_time(_: object, attribute: Any, time: datetime | None) -> None:
    if time is not None and (not isinstance(time, datetime) or time.tzinfo is None):
        raise InvalidRequestError(
            f"{attribute.name} is {short_repr(time)}.",
            hint="Give a datetime with a time zone, such as datetime.now(timezone.utc) - timedelta(hours=2).",
        )


@define(frozen=True, kw_only=True)
class DeliveryFilter:
    """Selects deliveries by their status, target and task; None selects all.

    Attributes:
        status: `"dead"`; `"failing"` for pending ones whose last attempt failed; `"late"` for those that are pending
            ten minutes after the end of their task; `"undelivered"` for dead and pending ones; `"pending"` or
            `"delivered"`.
        host: Host of the target, without port.
        algorithm: Name of the algorithm.
        user: Name of the user who submitted the task.
        since: Only results that were ready at or after this time, which is the end of their task.
        until: Only results that were ready before this time.
        error: A part of the last error, in upper or lower case.
    """

    status: str | None = field(default=None, validator=_check_filter_status)
    host: str | None = field(default=None, validator=_check_filter_host)
    algorithm: str | None = field(default=None, validator=_check_filter_text)
    user: str | None = field(default=None, validator=_check_filter_text)
    since: datetime | None = field(default=None, validator=_check_filter_time)
    until: datetime | None = field(default=None, validator=_check_filter_time)
    error: str | None = field(default=None, validator=_check_filter_text)

    def to_dict(self) -> dict[str, str]:
        """Return the form of a query: texts, and times in ISO 8601, without members that are None."""
        values = {name: getattr(self, name) for name in (*_FILTER_TEXTS, *_FILTER_TIMES)}
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in values.items()
            if value is not None
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DeliveryFilter:
        """Parse the form of a query; empty values are None, and unknown members are ignored.

        Raises:
            InvalidRequestError: A value is invalid; the message names it.
        """
        given = {name: data.get(name) or None for name in (*_FILTER_TEXTS, *_FILTER_TIMES)}
        return cls(**given | {name: filter_time(name, given[name]) for name in _FILTER_TIMES})


def filter_time(name: str, text: Any) -> datetime | None:
    """Parse the time of a filter; None for None.

    Raises:
        InvalidRequestError: It is not a time in ISO 8601, or has no zone.
    """
    try:
        time = None if text is None else datetime.fromisoformat(str(text).strip().replace("Z", "+00:00"))
    except ValueError:
        time = None
    if text is not None and (time is None or time.tzinfo is None):
        raise InvalidRequestError(
            f"{name} is {short_repr(text)}.",
            hint="Give a time with its zone in ISO 8601, such as 2030-01-31T23:00:00Z.",
        )
    return time


def filter_seconds(name: str, text: Any) -> float | None:
    """Parse the time of a filter as seconds since 1970 in UTC; see `filter_time`."""
    time = filter_time(name, text)
    return None if time is None else time.timestamp()
