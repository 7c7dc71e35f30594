"""Parses and validates submissions: tasks, their features and their targets."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

from attrs import define, evolve, field

from callback_sdk.errors import CallbackParamError, CallbackSDKError, FeaturesError, InvalidTargetError, OutputError
from callback_sdk.filesystem.files import remove
from callback_sdk.redaction import Secret, clearing_locals
from callback_sdk.service.algorithms import features
from callback_sdk.service.algorithms.catalogue import AlgorithmCatalog
from callback_sdk.service.api.fields import SubmissionError, SubmittedForm
from callback_sdk.service.api.lifetimes import QueueEstimate, TaskDuration
from callback_sdk.service.api.targets import RequestedTarget, parse_targets, read_targets, with_subscriber
from callback_sdk.service.blobs import INLINE
from callback_sdk.service.core import TaskRequest
from callback_sdk.service.files import Scratch
from callback_sdk.service.store import IdempotencyKey, Submission, TaskRow
from callback_sdk.service.store.models import DEFAULT_PRIORITY, FIT, MAX_PRIORITY, PREDICT, RESERVED_NAMES, WARNINGS
from callback_sdk.service.store.rows import last_expiry
from callback_sdk.service.work.results_bucket import ResultsBucket
from callback_sdk.targets import Target, TargetSettings, check_callback
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.places import Places, ResultTarget, check_takes_files
from callback_sdk.tracing import TRACEPARENT
from callback_sdk.transport.guard import AddressGuard

_WORDS = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(("false", "0", "no", "off"), False)

MAX_TASKS_FILE = 32 * 1024 * 1024
"""Maximum bytes of the file `tasks` of a batch."""

MAX_EXPIRES = 10 * 365 * 24 * 3600
"""Maximum seconds in which a task must be started."""

MAX_KEY_LENGTH = 255
"""Maximum characters of an idempotency key."""


@define(frozen=True, kw_only=True)
class Rules:
    """The rules by which submissions are validated.

    Attributes:
        catalogue: The algorithms.
        settings: Settings of the targets' detection.
        guard: SSRF protection: the hosts that targets may have.
        max_callbacks: Maximum number of targets of a task.
        queue: Estimates how long a task waits.
        bucket: The bucket for `results:`; None without one.
    """

    catalogue: AlgorithmCatalog
    settings: TargetSettings
    guard: AddressGuard
    max_callbacks: int
    queue: QueueEstimate
    bucket: ResultsBucket | None = None


@define(frozen=True, kw_only=True)
class _RequestedTask:
    """A task as requested, from a form or from an item of a batch."""

    version: str | None
    features: Any = None
    parameters: Any = field(repr=False)
    evaluate: bool | dict[str, Any]
    priority: Any
    expires: Any
    options: dict[str, Any]
    targets: tuple[RequestedTarget, ...]


def read_one(
    form: SubmittedForm,
    algorithm_id: str,
    rules: Rules,
    scratch: Scratch,
    stack: ExitStack,
    *,
    owner: str,
    kind: str,
    traceparent: str | None = None,
) -> TaskRequest:
    """Parse and validate a task.

    Args:
        form: The form of the request.
        algorithm_id: Name of the algorithm.
        rules: The validation rules.
        scratch: Directory for the features.
        stack: Removes the features when it is closed.
        owner: Id of the user.
        kind: `"predict"` or `"fit"`.
        traceparent: Trace context of the request.

    Raises:
        UnknownAlgorithmError: The algorithm or version doesn't exist.
        TargetError: A result could never be delivered to one of the targets.
        FeaturesError: The features are not a valid table.
        SubmissionError: Another field is invalid.
    """
    requested = _RequestedTask(
        version=form.text("version"),
        parameters=form.json("parameters").reveal(),
        evaluate=_evaluate(form),
        priority=_number(form.text("priority"), "priority"),
        expires=_seconds(form.text("expires")),
        options=_options(form, kind),
        targets=read_targets(form, rules.max_callbacks),
    )
    submission = _submission(requested, algorithm_id, rules, owner=owner, kind=kind, traceparent=traceparent)
    uploads = form.files.get("features", ())
    if kind == PREDICT and not uploads and "features" not in form.fields:
        # For an algorithm that takes only parameters. Another one fails when it reads them.
        return _with_features(submission, b"", features.NONE, rules)
    if len(uploads) != 1:
        raise FeaturesError("The request needs one file 'features'.", hint="Send Parquet or JSON under this name.")
    data, format_ = _receive(uploads[0], scratch, stack)
    return _with_features(submission, data, format_, rules)


def read_batch(
    form: SubmittedForm,
    algorithm_id: str,
    rules: Rules,
    scratch: Scratch,
    stack: ExitStack,
    *,
    owner: str,
    max_tasks: int,
    traceparent: str | None = None,
) -> list[TaskRequest]:
    """Parse and validate a batch of tasks; see `read_one`.

    Args:
        form: The form of the request: a list of tasks in the file `tasks`, and files `features`.
        algorithm_id: Name of the algorithm.
        rules: The validation rules.
        scratch: Directory for the features.
        stack: Removes the features when it is closed.
        owner: Id of the user.
        max_tasks: Maximum number of tasks.
        traceparent: Trace context of the request.

    Raises:
        CallbackSDKError: As for `read_one`; the message names the task.
    """
    items = _batch_items(form.json("tasks", max_bytes=MAX_TASKS_FILE).reveal(), max_tasks)
    uploads = form.files.get("features", ())
    received: dict[int, tuple[Path | bytes, str]] = {}

    def features_of(index: Any) -> tuple[Path | bytes, str]:
        if index is None:
            return b"", features.NONE
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(uploads):
            raise FeaturesError(
                f"The features {index!r:.20} don't exist; the request has {len(uploads)} files 'features'.",
                hint="The member 'features' of a task is the index of a file 'features', from 0, or null for none.",
            )
        if index not in received:
            received[index] = _receive(uploads[index], scratch, stack)
        return received[index]

    found = []
    for number, item in enumerate(items):
        with _prefix_errors(f"tasks[{number}]"):
            requested = _requested_task(item.reveal(), number, rules.max_callbacks)
            submission = _submission(requested, algorithm_id, rules, owner=owner, kind=PREDICT, traceparent=traceparent)
            data, format_ = features_of(requested.features)
            found.append(_with_features(submission, data, format_, rules))
    return found


def read_key(text: str | None, form: SubmittedForm, *where: str) -> IdempotencyKey | None:
    """Parse the header `Idempotency-Key`.

    Raises:
        SubmissionError: The key is invalid.
    """
    if text is None:
        return None
    if not 1 <= len(text) <= MAX_KEY_LENGTH or not text.isascii() or not text.isprintable():
        raise SubmissionError(
            "The header Idempotency-Key can't be used.", hint=f"Send 1 to {MAX_KEY_LENGTH} printable ASCII characters."
        )
    return IdempotencyKey(key=text, fingerprint=form.fingerprint(*where))


_MEMBERS = frozenset(
    {"features", "parameters", "version", "evaluate", "priority", "expires", "monitor", "callbacks", "subscriber"}
)


@clearing_locals
def _batch_items(content: Any, max_tasks: int) -> list[Secret[Any]]:
    """Check that a JSON value is a list of tasks, and wrap each."""
    if not isinstance(content, list) or not content:
        raise SubmissionError("'tasks' is not a list of tasks.", hint='Send a JSON list: [{"parameters": {}}, ...].')
    if len(content) > max_tasks:
        raise SubmissionError(f"The batch has {len(content)} tasks.", hint=f"Send at most {max_tasks} at a time.")
    return [Secret(item) for item in content]


@clearing_locals
def _requested_task(item: Any, number: int, max_callbacks: int) -> _RequestedTask:
    if not isinstance(item, dict):
        raise SubmissionError("A task is a JSON object.", hint='Send {"parameters": {...}, "callbacks": [...]}.')
    if unknown := sorted(set(item) - _MEMBERS):
        raise SubmissionError(
            f"Unknown member of a task: {unknown[0]!r:.50}.", hint=f"A task may have {', '.join(sorted(_MEMBERS))}."
        )
    version, evaluate = item.get("version"), item.get("evaluate", True)
    if not isinstance(version, (str, type(None))):
        raise SubmissionError("'version' is not a string.", hint='Send a string such as "1.0.0".')
    if not isinstance(evaluate, (bool, dict)):
        raise SubmissionError("'evaluate' is neither true, false nor a JSON object.", hint="Send one of these.")
    return _RequestedTask(
        version=version,
        features=item.get("features", number),
        parameters=item.get("parameters"),
        evaluate=evaluate,
        priority=item.get("priority", DEFAULT_PRIORITY),
        expires=item.get("expires"),
        options={"monitor": str(item["monitor"])} if "monitor" in item else {},
        targets=with_subscriber(
            parse_targets(Secret(item.get("callbacks")), Secret(None), max_callbacks),
            Secret(item.get("subscriber")),
            max_callbacks,
        ),
    )


def _new_task(
    requested: _RequestedTask, algorithm_id: str, rules: Rules, *, owner: str, kind: str, traceparent: str | None
) -> TaskRow:
    """Validate a task, and return it without the format of its features."""
    found = rules.catalogue.get(owner, algorithm_id, requested.version)
    algorithm = found.algorithm
    if kind == FIT and not algorithm.trainable:
        raise SubmissionError(f"{algorithm_id!r} can't be trained.", hint="The algorithm has no fit function.")
    parameters = {} if requested.parameters is None else requested.parameters
    if not isinstance(parameters, dict):
        raise SubmissionError("'parameters' is not a JSON object.", hint='Send a dict, such as {"exponent": 2}.')
    if kind == PREDICT and algorithm.parameters is not None:
        algorithm.parameters.check(parameters)
    if isinstance(requested.evaluate, dict) and algorithm.evaluations:
        unknown = sorted(set(requested.evaluate) - set(algorithm.evaluations))
        if unknown:
            raise SubmissionError(
                f"{algorithm_id!r} has no evaluation {unknown[0]!r:.100}.",
                hint=f"It has {', '.join(algorithm.evaluations)}.",
            )
    priority = requested.priority
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= MAX_PRIORITY:
        raise SubmissionError(
            f"'priority' is not an integer from 0 to {MAX_PRIORITY}.", hint="Higher priorities run first."
        )
    return TaskRow(
        job_id=str(uuid.uuid4()),
        owner=owner,
        kind=kind,
        algorithm=algorithm.name,
        version=found.version,
        features_format="",
        parameters=parameters,
        evaluate=requested.evaluate,
        options=requested.options if traceparent is None else {**requested.options, TRACEPARENT: traceparent},
        priority=priority,
    )


def _submission(
    requested: _RequestedTask, algorithm_id: str, rules: Rules, *, owner: str, kind: str, traceparent: str | None
) -> Submission:
    """Validate a task with its targets, and return it without its features."""
    task = _new_task(requested, algorithm_id, rules, owner=owner, kind=kind, traceparent=traceparent)
    expires = _checked_expiry(requested.expires)
    targets = [checked_target(one.callback, rules, task.job_id) for one in requested.targets]
    _check_distinct(targets)
    _check_takes_files(targets, requested.targets)
    reserved = _reserved_names(targets, requested.targets)
    version = rules.catalogue.get(owner, algorithm_id, requested.version).algorithm
    duration = TaskDuration(
        expires=None if expires is None else timedelta(seconds=expires), timeout=version.timeout
    )  # fmt: skip
    if warnings := duration.warnings(targets, rules.queue):
        task = evolve(task, options={**task.options, WARNINGS: warnings})
    if reserved:
        task = evolve(task, options={**task.options, RESERVED_NAMES: sorted(reserved)})
    return Submission(
        task=task,
        # The target's URL shows the name of the object.
        targets=tuple(target.callback for target in targets),
        output_names=tuple(one.output for one in requested.targets),
        expires=expires,
        targets_expire_at=last_expiry(targets),
    )


def _check_distinct(targets: Sequence[Target]) -> None:
    """Reject two targets that are the same object of the service's bucket."""
    found = [str(target.callback.shown) for target in targets if target.callback.shown is not None]
    if len(set(found)) < len(found):
        raise CallbackParamError(
            "Two callbacks are the same object of the service's bucket.", hint="Give each a name: results:other.json."
        )


def _check_takes_files(targets: Sequence[Target], requested: Sequence[RequestedTarget]) -> None:
    """Reject targets of output files that take documents only."""
    for target, one in zip(targets, requested, strict=True):
        if one.output is not None:
            check_takes_files(one.output, target)


def _reserved_names(targets: Sequence[Target], requested: Sequence[RequestedTarget]) -> frozenset[str]:
    """Reject a target that is the object of another one; return the names that no output file may have."""
    places = Places()
    for position, (target, one) in enumerate(zip(targets, requested, strict=True)):
        try:
            places.add(position, ResultTarget.of(one.output, target))
        except OutputError as error:  # noqa: PERF203 - one error ends the loop
            raise InvalidTargetError(error.message, hint=error.hint, url=str(target.callback.shown_url)) from None
    return places.reserved_names()


def checked_target(callback: Callback, rules: Rules, job_id: str) -> Target:
    """Validate a target, its host and that of its issuer.

    Args:
        callback: The target.
        rules: The validation rules.
        job_id: The task.

    Raises:
        TargetError: A result could never be delivered to it, or SSRF protection blocks a host.
        SigningError: A URL of the service's own bucket can't be signed at the moment.
    """
    if callback.is_results:
        if rules.bucket is None:
            raise InvalidTargetError(
                "The service has no bucket for results:.",
                hint="Give the URL of a target, or ask the operator for one: callback-sdk serve --results-bucket.",
            )
        found = Target(callback=rules.bucket.with_shown_url(callback, job_id))
        found.check_events()
        return found
    target = check_callback(callback, rules.settings)
    if not rules.settings.stores.in_cluster(callback.url):
        rules.guard.check(callback.url)
    if callback.issuer is not None:
        rules.guard.check(callback.issuer.url)
    return target


def _with_features(submission: Submission, data: Path | bytes, format_: str, rules: Rules) -> TaskRequest:
    task = evolve(submission.task, features_format=format_)
    _check_small(task, data, rules)
    return TaskRequest(submission=evolve(submission, task=task), features=data)


def _receive(source: BinaryIO, scratch: Scratch, stack: ExitStack) -> tuple[Path | bytes, str]:
    """Receive features, small ones in memory: writing a file for each would dominate the time of a batch."""
    source.seek(0)
    head = source.read(INLINE + 1)
    received: Path | bytes = head
    if len(head) > INLINE:
        source.seek(0)
        received = scratch.receive(source)
        stack.callback(remove, received)
    format_ = features.sniff(received)
    features.check(received, format_)
    return received, format_


def _check_small(task: TaskRow, received: Path | bytes, rules: Rules) -> None:
    """Validate small features against the algorithm's schema; large ones are validated when the run reads them."""
    declared = rules.catalogue.get(task.owner, task.algorithm, task.version).algorithm.features
    small = task.features_format in (features.JSON, features.NONE) and isinstance(received, bytes)
    if declared is not None and task.kind == PREDICT and small:
        declared.check(features.Features(received, task.features_format))


def _options(form: SubmittedForm, kind: str) -> dict[str, Any]:
    options: dict[str, Any] = {name: form.text(name) for name in ("monitor", "compression") if form.text(name)}
    if kind == FIT:
        options["export_new_version"] = _bool(form.text("export_new_version") or "false", "export_new_version")
    return options


def _evaluate(form: SubmittedForm) -> bool | dict[str, Any]:
    text = (form.text("evaluate") or "true").lower()
    if text in _WORDS:
        return _WORDS[text]
    value = form.json("evaluate").reveal()
    if not isinstance(value, dict):
        raise SubmissionError("'evaluate' is neither true, false nor a JSON object.", hint="Send one of these.")
    return value


def _bool(text: str, name: str) -> bool:
    if text.lower() not in _WORDS:
        raise SubmissionError(f"{name!r} is not a boolean.", hint="Send true or false.")
    return _WORDS[text.lower()]


def _number(text: str | None, name: str) -> int:
    if text is None:
        return DEFAULT_PRIORITY
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise SubmissionError(f"{name!r} is not an integer.", hint="Send digits only.")
    return int(text)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", text, re.ASCII):
        raise _invalid_expiry()
    return float(text)


def _checked_expiry(seconds: Any) -> float | None:
    """Return the seconds in which a task must be started; None for unlimited."""
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= MAX_EXPIRES:
        raise _invalid_expiry()
    return float(seconds)


def _invalid_expiry() -> SubmissionError:
    return SubmissionError(
        "'expires' is not a number of seconds in which the task must be started.",
        hint=f"Send a number above 0 and up to {MAX_EXPIRES}, such as 3600.",
    )


@contextmanager
def _prefix_errors(where: str) -> Iterator[None]:
    """Prefix the messages of this package's errors with the location."""
    try:
        yield
    except CallbackSDKError as error:
        error.message = f"{where}: {error.message}"
        raise
