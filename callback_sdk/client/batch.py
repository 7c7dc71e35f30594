"""Submission of many tasks from an iterable, in requests of bounded size."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from attrs import define, evolve, field, fields

from callback_sdk.client.callbacks import CallbackResolver
from callback_sdk.client.connection import JSON, ServiceConnection
from callback_sdk.client.features import prepare_features
from callback_sdk.client.form import MAX_KEY_LENGTH, checked_key, credentials, encode_value, join_parts, task_item
from callback_sdk.client.interrupts import naming_key
from callback_sdk.client.responses import acceptance_hints, may_be_accepted, unexpected_response
from callback_sdk.documents.body import Body
from callback_sdk.documents.multipart import FormFile, encode_form
from callback_sdk.errors import CallbackSDKError, FeaturesError, InvalidRequestError, ServiceError
from callback_sdk.features.containers import is_lazy_table, is_table
from callback_sdk.parsing import Duration
from callback_sdk.progress import ProgressBar
from callback_sdk.redaction import Secret, SecretFields, wrap_secret
from callback_sdk.targets.callbacks import Callback
from callback_sdk.text.descriptions import type_name
from callback_sdk.types import Callbacks, Evaluate, FeaturesInput, OutputTargets

MAX_TASKS = 1000
"""Maximum tasks of a request, the limit of the service."""

MAX_BYTES = 32 * 1024 * 1024
"""Maximum bytes of the features and tasks of a request, unless a single task has more."""


_NamedFile = tuple[str, FormFile]
"""Features as a file of the form, with a name that is unique for their content."""


def _wrap_callbacks(callbacks: Callbacks | Secret[Any] | None) -> Secret[Any]:
    return wrap_secret(callbacks)


def _wrap_outputs(outputs: OutputTargets | Secret[Any] | None) -> Secret[Any]:
    return wrap_secret(outputs)


@define(frozen=True)
class BatchItem:
    """One task of a batch. Attributes that are None have the value of the argument of `Client.run_algorithm_batch`.

    Attributes:
        features: The features, in the forms that `Client.run_algorithm` accepts; None if the algorithm takes only
            parameters.
        parameters: The algorithm's parameters.
        callbacks: A list of the targets of the result; an empty list for none.
        outputs: Targets of single output files, by name; see `Client.run_algorithm`.
        version: The algorithm's version.
        evaluate: Whether to evaluate the predictions, or a dict with the options of each evaluation.
        priority: 0 to 9; higher runs first.
        expires: Time in which the task must be started, a `timedelta` or seconds.
    """

    features: FeaturesInput | None = field(default=None, repr=False)
    parameters: Mapping[str, Any] | None = field(default=None, kw_only=True, repr=False)
    callbacks: Secret[Any] = field(default=None, kw_only=True, converter=_wrap_callbacks)
    outputs: Secret[Any] = field(default=None, kw_only=True, converter=_wrap_outputs)
    version: str | None = field(default=None, kw_only=True)
    evaluate: Evaluate | None = field(default=None, kw_only=True)
    priority: int | None = field(default=None, kw_only=True)
    expires: Duration | None = field(default=None, kw_only=True)

    def __copy__(self) -> BatchItem:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> BatchItem:
        names = ("features", "parameters", "evaluate")
        return evolve(self, **{name: deepcopy(getattr(self, name), memo) for name in names})

    def __reduce__(self) -> tuple[object, ...]:
        for name in ("callbacks", "outputs"):
            if getattr(self, name).reveal():
                raise TypeError(
                    f"This batch item can't be pickled, because its {name} are credentials. Pickle the item without "
                    f"{name}, and add them in the process that submits it: attrs.evolve(item, {name}=...)."
                )
        values = {field.name: getattr(self, field.name) for field in fields(BatchItem)}
        return _batch_item, ({**values, "callbacks": self.callbacks.reveal(), "outputs": self.outputs.reveal()},)


def _batch_item(values: dict[str, Any]) -> BatchItem:
    return BatchItem(**values)


@define(frozen=True, kw_only=True)
class Options:
    """Defaults for items that don't set these attributes; see `Client.run_algorithm_batch`."""

    targets: tuple[Callback, ...]
    parameters: Mapping[str, Any] | None = field(repr=False)
    version: str | None
    evaluate: Evaluate
    monitor: bool
    priority: int | None
    expires: Duration | None


class _Chunk:
    """The tasks of one request.

    Args:
        start: Number of the first item.
    """

    def __init__(self, start: int) -> None:
        self.start = start
        self.tasks: list[Secret[bytes]] = []
        self.hidden: list[Secret[tuple[str, ...]]] = []
        self._files: list[FormFile] = []
        self._indexes: dict[str, int] = {}
        self._size = 0

    def is_full(self, features: _NamedFile | None) -> bool:
        """Return whether a task with these features has to go into the next request."""
        more = 0 if features is None or features[0] in self._indexes else features[1].body.size
        return bool(self.tasks) and (len(self.tasks) == MAX_TASKS or self._size + more > MAX_BYTES)

    def index(self, features: _NamedFile | None) -> int | None:
        """Return the index of the file with these features; features with the same name are sent once."""
        if features is None:
            return None
        name, file = features
        if name not in self._indexes:
            self._indexes[name] = len(self._files)
            self._files.append(file)
            self._size += file.body.size
        return self._indexes[name]

    def add(self, task: Secret[bytes], hidden: Secret[tuple[str, ...]]) -> None:
        """Add a task, and those of its strings that errors must not contain."""
        self.tasks.append(task)
        self.hidden.append(hidden)
        self._size += len(task.reveal())

    def form(self, fields: SecretFields) -> tuple[Body, str]:
        """Return the request's body, and its media type.

        Args:
            fields: The fields of the form besides the tasks.
        """
        tasks = Body(b"[", b",".join(task.reveal() for task in self.tasks), b"]")
        described = FormFile(name="tasks", filename="tasks.json", content_type=JSON, body=tasks)
        body, content_type = encode_form(fields, [described, *self._files])
        return join_parts(body), content_type


class Batch:
    """A batch of tasks to submit.

    Args:
        items: Features, or `BatchItem` objects.
        options: Defaults for attributes that an item doesn't set.
        compression: Parquet codec.
        key: Idempotency key of the batch; a new one if None.
        callbacks: Validates the targets of items, and logs warnings of the service.
        done: The validated target that is told when all tasks have ended; None without one.

    Attributes:
        accepted_job_ids: Ids of the tasks that the service has accepted, in order.

    Raises:
        CallbackSDKError: `items` is not an iterable of features, the key is invalid, or an item of a list has an
            invalid target.
    """

    def __init__(
        self,
        items: Iterable[BatchItem | FeaturesInput],
        options: Options,
        *,
        compression: str | None,
        key: str | None,
        callbacks: CallbackResolver,
        done: Callback | None = None,
    ) -> None:
        one_table = isinstance(items, (str, bytes, os.PathLike, Mapping)) or is_table(items) or is_lazy_table(items)
        if one_table or not isinstance(items, Iterable):
            raise FeaturesError(
                f"The items of a batch are of type {type_name(items)}.", hint="Give a list with one table per task."
            )
        self.accepted_job_ids: list[str] = []
        self._items = items
        self._options = options
        self._compression = compression
        # The key of each request is this key followed by the number of the request.
        self._key = checked_key(key, max_length=MAX_KEY_LENGTH - 10)
        self._callbacks = callbacks
        self._done = done
        if isinstance(items, Sequence):
            for number, item in enumerate(items):
                with _name_item(number):
                    self._targets(_item(item))

    def send(self, connection: ServiceConnection, path: str, bar: ProgressBar) -> None:
        """Submit all tasks.

        Args:
            connection: Connection to the service.
            path: Path of the batch route.
            bar: Shows the progress.

        Raises:
            CallbackSDKError: A task is invalid, or the service didn't accept a request.
        """
        total = len(self._items) if isinstance(self._items, Sized) else 0
        try:
            with naming_key(self._key, self._progress):
                for number, (chunk, is_last) in enumerate(self._requests()):
                    self._send(connection, path, chunk, f"{self._key}/{number}", is_last=is_last)
                    bar.show(
                        len(self.accepted_job_ids) / total if total else None, f"{len(self.accepted_job_ids)} accepted"
                    )
        except BaseException as error:
            # The attribute is set on any error, even one raised by the caller's iterable.
            setattr(error, "accepted_job_ids", tuple(self.accepted_job_ids))  # noqa: B010
            if isinstance(error, CallbackSDKError) and self.accepted_job_ids:
                count = (
                    "One task was" if len(self.accepted_job_ids) == 1 else f"{len(self.accepted_job_ids)} tasks were"
                )
                error.add_hint(
                    f"{count} accepted before the error, see its `accepted_job_ids`; the same call with "
                    f'idempotency_key="{self._key}" creates no duplicates.'
                )
            raise

    def _progress(self) -> tuple[str, None]:
        done = f"{len(self.accepted_job_ids)} tasks were accepted and continue."
        return f'{done} The same call with idempotency_key="{self._key}" submits the others.', None

    def _send(self, connection: ServiceConnection, path: str, chunk: _Chunk, key: str, *, is_last: bool) -> None:
        body, content_type = chunk.form(self._fields(is_last=is_last))
        own = () if self._done is None else (credentials([self._done]),)
        hidden = Secret(tuple(text for secret in (*chunk.hidden, *own) for text in secret.reveal()))
        try:
            answer = connection.request(
                "POST",
                path,
                body=body,
                content_type=content_type,
                hidden=hidden,
                key=key,
                resume_key=self._key,
                repeatable=True,
            )
        except ServiceError as error:
            if chunk.start and isinstance(error, InvalidRequestError):
                error.add_hint(f"tasks[0] of this request is items[{chunk.start}].")
            elif may_be_accepted(error):
                error.add_hint(*acceptance_hints(self._key, "The tasks"))
                error.idempotency_key = self._key
            raise
        self.accepted_job_ids += _ids(answer.data, len(chunk.tasks), known=self.accepted_job_ids)
        for text in answer.data.get("warnings") or ():
            self._callbacks.warn(str(text))

    def _fields(self, *, is_last: bool) -> SecretFields:
        """Return the fields of a request. The id of the batch is the same if the call is repeated with its key."""
        if self._done is None:
            return SecretFields({})
        batch_id = hashlib.sha256(self._key.encode()).hexdigest()
        members = Secret({"id": batch_id, "done": self._done.plain(), "is_last": is_last})
        return SecretFields({"batch": encode_value("done", members).reveal().decode()})

    def _requests(self) -> Iterator[tuple[_Chunk, bool]]:
        """Yield each chunk, and whether it is the last one, which only the target of the end needs to know."""
        if self._done is None:
            yield from ((chunk, True) for chunk in self._chunks())
        else:
            yield from _with_last(self._chunks())

    def _chunks(self) -> Iterator[_Chunk]:
        chunk = _Chunk(0)
        for number, given in enumerate(self._items):
            with _name_item(number):
                item = _item(given)
                features = _file(item.features, self._compression)
            if chunk.is_full(features):
                yield chunk
                chunk = _Chunk(number)
            with _name_item(number):
                self._add(chunk, item, chunk.index(features))
        if chunk.tasks:
            yield chunk

    def _add(self, chunk: _Chunk, item: BatchItem, index: int | None) -> None:
        (targets, outputs), options = self._targets(item), self._options
        task = task_item(
            index,
            targets,
            outputs=outputs,
            parameters=options.parameters if item.parameters is None else item.parameters,
            version=options.version if item.version is None else item.version,
            evaluate=options.evaluate if item.evaluate is None else item.evaluate,
            monitor=options.monitor,
            priority=options.priority if item.priority is None else item.priority,
            expires=options.expires if item.expires is None else item.expires,
        )
        chunk.add(encode_value("item", task), credentials((*targets, *outputs.values())))

    def _targets(self, item: BatchItem) -> tuple[tuple[Callback, ...], dict[str, Callback]]:
        """Validate and return the targets of the document, and those of single output files by name."""
        is_default = item.callbacks.reveal() is None
        targets = self._options.targets if is_default else self._callbacks.resolve_list(item.callbacks)
        return targets, self._callbacks.resolve_outputs(item.outputs, targets)


def _with_last(chunks: Iterator[_Chunk]) -> Iterator[tuple[_Chunk, bool]]:
    """Yield each chunk, and whether it is the last one."""
    before: _Chunk | None = None
    for chunk in chunks:
        if before is not None:
            yield before, False
        before = chunk
    if before is not None:
        yield before, True


def _ids(data: Any, count: int, *, known: Sequence[str]) -> list[str]:
    """Read the ids of the tasks of one request: one id per task, all distinct."""
    ids = data.get("job_ids") if isinstance(data, dict) else None
    if not isinstance(ids, list) or len(ids) != count or not all(isinstance(job_id, str) for job_id in ids):
        raise unexpected_response(f"a list of {count} ids")
    if len({*ids, *known}) != count + len(known):
        raise unexpected_response(f"a list of {count} ids that are all different, and different from those before")
    return ids


def _item(given: Any) -> BatchItem:
    if given is None:
        raise FeaturesError("The item is None.", hint="Give BatchItem(parameters={...}) for a task without features.")
    return given if isinstance(given, BatchItem) else BatchItem(given)


def _file(features: Any, compression: str | None) -> _NamedFile | None:
    if features is None:
        return None
    with prepare_features(features, compression=compression) as file:
        if isinstance(features, (str, os.PathLike)):
            return f"path:{os.fsdecode(features)}", file
        # Read into memory, because the iterable may reuse an object, and the number of open files is limited.
        body = Body(file.body.read())
        return hashlib.sha256(body.read()).hexdigest(), evolve(file, body=body)


@contextmanager
def _name_item(number: int) -> Iterator[None]:
    """Add the index of the item to an error."""
    try:
        yield
    except CallbackSDKError as error:
        error.message = f"items[{number}]: {error.message}"
        raise
