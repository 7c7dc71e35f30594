"""Types of the public signatures: aliases, dictionaries and protocols, for annotations in users' code."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypedDict

from callback_sdk.models import JobResult, PresignedMultipart, PresignedPost, PresignedPrefix, PresignedPut
from callback_sdk.parsing import Duration
from callback_sdk.redaction import Secret

__all__ = [
    "CallbackDict",
    "CallbackParam",
    "CallbackParams",
    "CallbackTarget",
    "CallbackURLs",
    "Callbacks",
    "DeliveryStatus",
    "Duration",
    "ErrorCode",
    "Evaluate",
    "FeaturesInput",
    "OutputTargets",
    "Parameters",
    "RunOptions",
    "SupportsArrowArray",
    "SupportsArrowSchema",
    "SupportsArrowStream",
    "SupportsDataFrame",
    "TaskFilter",
    "TaskKind",
    "TaskOutcome",
    "TaskStatus",
    "TokenSource",
    "TrainOptions",
    "WriteItem",
    "WriteItems",
]

TaskStatus = Literal["Pending", "In Progress", "Finished", "Canceled"]
"""Status of a task."""

TaskOutcome = Literal["Succeeded", "Failed", "Expired", "Canceled"]
"""How a task ended."""

TaskFilter = Literal["Pending", "In Progress", "Finished", "Canceled", "succeeded", "failed", "expired"]
"""Filter of `Client.get_tasks`: a status, or an outcome of finished tasks."""

ErrorCode = Literal["expired"]
"""Kind of a task's error, for programs: `"expired"` if it was not started in time."""

TaskKind = Literal["predict", "fit", "batch"]
"""Kind of a task: a run, a training, or the end of a batch, which runs nothing."""

DeliveryStatus = Literal["pending", "delivered", "dead", "skipped"]
"""Status of a delivery. No attempt is left for a dead one; the target of a skipped one subscribes to no such result."""

TokenSource = str | Callable[[], str]
"""A token of AIStore, or a function that returns the current one, such as an `aistore.Token`."""

CallbackParam = Mapping[str, Any]
"""The parameter of one target: what the result's document repeats, and members that say how to deliver to it.

These are `s3_fields`, `s3_headers` and `s3_parts` for an object store, `http` for a server that accepts PUT,
`webhook` for a webhook with a secret or headers of its own, or whose URL looks like a signed one, `refresh` for whoever
issues a new target when this one has expired, and `events` for what is sent before the end.
"""

CallbackParams = CallbackParam | Sequence[CallbackParam | None]
"""One parameter for all targets, or one for each."""


class _CallbackURL(TypedDict):
    url: str


class CallbackDict(_CallbackURL, total=False):
    """A target as JSON has it."""

    param: CallbackParam | None


CallbackTarget = (
    str
    | PresignedPut
    | PresignedPost
    | PresignedMultipart
    | PresignedPrefix
    | CallbackDict
    | tuple[str, CallbackParam | None]
    | tuple[PresignedPut, CallbackParam | None]
    | tuple[PresignedPost, CallbackParam | None]
    | tuple[PresignedMultipart, CallbackParam | None]
    | tuple[PresignedPrefix, CallbackParam | None]
)
"""One target of a result: a URL, a presigned upload, either with a parameter as a pair, or the form that JSON has."""

CallbackURLs = CallbackTarget | Sequence[CallbackTarget] | Secret[Any]
"""Type of `callback_url`: a target, or a list of targets."""

WriteItem = tuple[JobResult, CallbackURLs] | tuple[JobResult, CallbackURLs, CallbackParams | Secret[Any] | None]
"""An item of `ResultsWriter.write_many`: a result, its targets, and their parameters."""

WriteItems = Iterable[WriteItem] | AsyncIterable[WriteItem]
"""Type of `items` of `ResultsWriter.write_many`. Asynchronous ones are for `AsyncResultsWriter`."""

Callbacks = CallbackTarget | Iterable[CallbackTarget]
"""Type of `callbacks`: a target, or an iterable of targets."""


OutputTargets = Mapping[str, CallbackTarget]
"""Targets of single output files, by the files' names."""


class SupportsArrowStream(Protocol):
    """A table with the Arrow PyCapsule interface, such as those of pyarrow, pandas 2.2 and polars."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Export the table as a stream of record batches."""


class SupportsArrowArray(Protocol):
    """A record batch with the Arrow PyCapsule interface."""

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        """Export the batch as an array of structs."""


class SupportsArrowSchema(Protocol):
    """A schema with the Arrow PyCapsule interface, such as `pyarrow.Schema`."""

    def __arrow_c_schema__(self) -> Any:
        """Export the schema."""


class SupportsDataFrame(Protocol):
    """A DataFrame; the stubs of pandas declare this method and not the Arrow interface."""

    def __dataframe__(self, nan_as_null: bool = ..., allow_copy: bool = ...) -> Any:
        """Return the DataFrame interchange object."""


FeaturesInput = (
    Mapping[str, Any]
    | Sequence[Mapping[str, Any]]
    | str
    | os.PathLike[str]
    | SupportsArrowStream
    | SupportsArrowArray
    | SupportsDataFrame
)
"""A table: a dict of columns or scalars, a list of records, a DataFrame, an Arrow table, or the path of a file."""

Parameters = Mapping[str, Any] | str | os.PathLike[str]
"""An algorithm's parameters, or the path of a JSON file with them."""

Evaluate = bool | Mapping[str, Any]
"""Whether to evaluate the predictions, or the options of each evaluation by its name."""


class _SubmitOptions(TypedDict, total=False):
    version: str | None
    parameters: Parameters | None
    callback_url: CallbackURLs | None
    callback_param: CallbackParams | None
    callbacks: Callbacks | None
    compression: str | None
    priority: int | None
    expires: Duration | None
    idempotency_key: str | None


class RunOptions(_SubmitOptions, total=False):
    """Options of `Client.run_algorithm`."""

    evaluate: Evaluate
    monitor: bool


class TrainOptions(_SubmitOptions, total=False):
    """Options of `Client.train_algorithm`."""

    export_new_version: bool | None
    monitor: bool | None
