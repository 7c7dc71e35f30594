"""What somebody submits: from the form of a request to tasks, their features and their targets, all checked."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from attrs import define, field

from callback_sdk.documents.body import CHUNK_SIZE
from callback_sdk.documents.decoding import decode, has_lone_surrogate
from callback_sdk.errors import CallbackParamError, CallbackSDKError, FeaturesError, InvalidTargetError
from callback_sdk.features.json import weigh
from callback_sdk.redaction import Secret
from callback_sdk.service.algorithms import features
from callback_sdk.service.algorithms.catalogue import AlgorithmCatalog
from callback_sdk.service.blobs import INLINE
from callback_sdk.service.core import TaskRequest
from callback_sdk.service.files import Scratch, remove
from callback_sdk.service.store import IdempotencyKey, Submission, TaskRow
from callback_sdk.service.store.models import FIT, MOST_URGENT, PREDICT, USUAL_PRIORITY
from callback_sdk.targets import TargetSettings, check_callback
from callback_sdk.targets.callbacks import Callback, parse_callbacks
from callback_sdk.tracing import TRACEPARENT
from callback_sdk.transport.guard import AddressGuard

_WORDS = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(("false", "0", "no", "off"), False)

MAX_PARAMETERS = 1024 * 1024
"""Bytes of the file `parameters`."""

MAX_TASKS_FILE = 32 * 1024 * 1024
"""Bytes of the file `tasks` of a batch."""

_MAX_PARTS = 2_000_000
"""Values in any JSON of a form, as `jsontables.weigh` counts them; about 80 MB of objects."""

_DEEPEST = 100
"""Lists and objects inside of each other."""

LONGEST_KEY = 255
"""Characters of an idempotency key."""


class SubmissionError(CallbackSDKError, ValueError):
    """A field of the form can't be read; the text names it."""


@define(frozen=True, kw_only=True)
class Form:
    """The fields and files of a request, as they came.

    Attributes:
        fields: Text by name; a value may hold credentials.
        files: Uploads by name, in their order.
    """

    fields: Mapping[str, Secret[str]] = field(repr=False)
    files: Mapping[str, Sequence[BinaryIO]] = field(repr=False)

    def text(self, name: str) -> str | None:
        """Return a field that is no credential; None when it is missing or empty."""
        value = self.fields.get(name)
        return value.reveal().strip() or None if value is not None else None

    def json(self, name: str, *, longest: int = MAX_PARAMETERS) -> Secret[Any]:
        """Return a field or a file of JSON, None when it is missing or empty.

        Raises:
            SubmissionError: It is something else, or a file that is too long.
        """
        text = Secret(self.fields[name].reveal().encode()) if name in self.fields else None
        if text is None and self.files.get(name):
            file = self.files[name][0]
            file.seek(0)
            text = Secret(file.read(longest + 1))
            if len(text.reveal()) > longest:
                raise SubmissionError(f"{name!r} has more than {longest} bytes.", hint="Send a shorter value.")
        if text is None or not text.reveal().strip():
            return Secret(None)
        return _parsed(text, name)

    def fingerprint(self, *where: str) -> str:
        """Return the SHA-256, in hex, of all that came and of where it goes, however it was put into a form."""
        total = hashlib.sha256()
        for part in where:
            _add(total, b"where", part.encode())
        for name in sorted(self.fields):
            _add(total, name.encode(errors="replace"), self.fields[name].reveal().encode(errors="replace"))
        for name in sorted(self.files):
            for file in self.files[name]:
                _add(total, name.encode(errors="replace"), _digest(file))
        return total.hexdigest()


@define(frozen=True, kw_only=True)
class Rules:
    """What decides whether a task is accepted.

    Attributes:
        catalogue: What can be run.
        settings: How targets are told apart.
        guard: Which hosts they may be at.
        max_callbacks: How many targets one task may have.
    """

    catalogue: AlgorithmCatalog
    settings: TargetSettings
    guard: AddressGuard
    max_callbacks: int


@define(frozen=True, kw_only=True)
class _Wish:
    """One task as somebody wants it, whichever way it came."""

    version: str | None
    parameters: Any = field(repr=False)
    evaluate: bool | dict[str, Any]
    priority: Any
    options: dict[str, Any]
    targets: tuple[Callback, ...]


def read_one(
    form: Form,
    algorithm_id: str,
    rules: Rules,
    scratch: Scratch,
    stack: ExitStack,
    *,
    owner: str,
    kind: str,
    traceparent: str | None = None,
) -> TaskRequest:
    """Read and check a task.

    Args:
        form: What came.
        algorithm_id: Which algorithm.
        rules: What is accepted.
        scratch: Where the features are put.
        stack: Removes them at its end.
        owner: Id of the user.
        kind: `"predict"` or `"fit"`.
        traceparent: The trace that it belongs to.

    Raises:
        UnknownAlgorithmError: There is no such algorithm or version.
        TargetError: A result could never be delivered to one of the targets.
        FeaturesError: The features are no table.
        SubmissionError: Another field can't be read.
    """
    wish = _Wish(
        version=form.text("version"),
        parameters=form.json("parameters").reveal(),
        evaluate=_evaluate(form),
        priority=_number(form.text("priority"), "priority"),
        options=_options(form, kind),
        targets=read_targets(form, rules.max_callbacks),
    )
    task = _task(wish, algorithm_id, rules, owner=owner, kind=kind, traceparent=traceparent)
    if len(form.files.get("features", ())) != 1:
        raise FeaturesError("The request needs one file 'features'.", hint="Send Parquet or JSON under this name.")
    data, format_ = _receive(form.files["features"][0], scratch, stack)
    _check_small(task(format_), data, rules)
    return TaskRequest(submission=Submission(task=task(format_), targets=wish.targets), features=data)


def read_batch(
    form: Form,
    algorithm_id: str,
    rules: Rules,
    scratch: Scratch,
    stack: ExitStack,
    *,
    owner: str,
    most: int,
    traceparent: str | None = None,
) -> list[TaskRequest]:
    """Read and check many tasks; see `read_one`.

    Args:
        form: What came: a list of tasks in the file `tasks`, and files `features`.
        algorithm_id: Which algorithm.
        rules: What is accepted.
        scratch: Where the features are put.
        stack: Removes them at its end.
        owner: Id of the user.
        most: How many tasks may come at once.
        traceparent: The trace that they belong to.

    Raises:
        CallbackSDKError: As `read_one` does; the text names the task.
    """
    items = form.json("tasks", longest=MAX_TASKS_FILE)
    if not isinstance(items.reveal(), list) or not items.reveal():
        raise SubmissionError("'tasks' is not a list of tasks.", hint='Send a JSON list: [{"parameters": {}}, ...].')
    if len(items.reveal()) > most:
        raise SubmissionError(f"The batch has {len(items.reveal())} tasks.", hint=f"Send at most {most} at a time.")
    uploads = form.files.get("features", ())
    received: dict[int, tuple[Path | bytes, str]] = {}

    def features_of(item: Secret[dict[str, Any]], number: int) -> tuple[Path | bytes, str]:
        index = item.reveal().get("features", number)
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(uploads):
            raise FeaturesError(
                f"There is no file {index!r:.20} of features; {len(uploads)} came.",
                hint="'features' is the position of a file 'features', from 0.",
            )
        if index not in received:
            received[index] = _receive(uploads[index], scratch, stack)
        return received[index]

    found = []
    for number in range(len(items.reveal())):
        with _naming(f"tasks[{number}]"):
            item = Secret(items.reveal()[number])
            wish = _wish(item, rules.max_callbacks)
            task = _task(wish, algorithm_id, rules, owner=owner, kind=PREDICT, traceparent=traceparent)
            data, format_ = features_of(item, number)
            submission = Submission(task=task(format_), targets=wish.targets)
            _check_small(submission.task, data, rules)
            found.append(TaskRequest(submission=submission, features=data))
    return found


def read_key(text: str | None, form: Form, *where: str) -> IdempotencyKey | None:
    """Read the header `Idempotency-Key`.

    Raises:
        SubmissionError: It is no such key.
    """
    if text is None:
        return None
    if not 1 <= len(text) <= LONGEST_KEY or not text.isascii() or not text.isprintable():
        raise SubmissionError(
            "The header Idempotency-Key can't be used.", hint=f"Send 1 to {LONGEST_KEY} printable ASCII characters."
        )
    return IdempotencyKey(key=text, fingerprint=form.fingerprint(*where))


def read_targets(form: Form, max_callbacks: int) -> tuple[Callback, ...]:
    """Read the targets from `callbacks`, or from `callback_url` and `callback_param`.

    Raises:
        TargetError: They can't be read, or there are too many.
    """
    if "callbacks" in form.fields:
        if form.text("callback_url"):
            raise CallbackParamError("Both 'callbacks' and 'callback_url' were sent.", hint="Send one of the two.")
        return _targets(form.json("callbacks"), Secret(None), max_callbacks)
    text = form.fields.get("callback_url", Secret(""))
    urls = Secret([url.strip() for url in text.reveal().split("|")] if text.reveal().strip() else None)
    return _targets(urls, form.json("callback_param"), max_callbacks)


def _targets(urls: Secret[Any], param: Secret[Any], max_callbacks: int) -> tuple[Callback, ...]:
    if not isinstance(urls.reveal(), (list, type(None))):
        raise CallbackParamError("'callbacks' is not a JSON list.", hint='Send [{"url": ..., "param": ...}, ...].')
    count = len(urls.reveal() or ())
    if count > max_callbacks:
        raise InvalidTargetError(
            f"The task has {count} callbacks, and the limit is {max_callbacks}.", hint="Send fewer."
        )
    return parse_callbacks(urls, param) if count else ()


_MEMBERS = frozenset({"features", "parameters", "version", "evaluate", "priority", "monitor", "callbacks"})


def _wish(item: Secret[Any], max_callbacks: int) -> _Wish:
    if not isinstance(item.reveal(), dict):
        raise SubmissionError("A task is a JSON object.", hint='Send {"parameters": {...}, "callbacks": [...]}.')
    if unknown := sorted(set(item.reveal()) - _MEMBERS):
        raise SubmissionError(
            f"Unknown member of a task: {unknown[0]!r:.50}.", hint=f"A task may have {', '.join(sorted(_MEMBERS))}."
        )
    member = item.reveal().get
    version, evaluate = member("version"), member("evaluate", True)
    if not isinstance(version, (str, type(None))):
        raise SubmissionError("'version' is not a string.", hint='Send one such as "1.0.0".')
    if not isinstance(evaluate, (bool, dict)):
        raise SubmissionError("'evaluate' is neither true, false nor a JSON object.", hint="Send one of these.")
    return _Wish(
        version=version,
        parameters=member("parameters"),
        evaluate=evaluate,
        priority=member("priority", USUAL_PRIORITY),
        options={"monitor": str(member("monitor"))} if "monitor" in item.reveal() else {},
        targets=_targets(Secret(item.reveal().get("callbacks")), Secret(None), max_callbacks),
    )


def _task(
    wish: _Wish, algorithm_id: str, rules: Rules, *, owner: str, kind: str, traceparent: str | None
) -> Callable[[str], TaskRow]:
    """Check a task, and return what makes it once the format of its features is known."""
    found = rules.catalogue.get(owner, algorithm_id, wish.version)
    algorithm = found.algorithm
    if kind == FIT and algorithm.fit is None:
        raise SubmissionError(f"{algorithm_id!r} can't be trained.", hint="The algorithm has no fit function.")
    parameters = {} if wish.parameters is None else wish.parameters
    if not isinstance(parameters, dict):
        raise SubmissionError("'parameters' is not a JSON object.", hint='Send a dict, such as {"exponent": 2}.')
    if kind == PREDICT and algorithm.parameters is not None:
        algorithm.parameters.check(parameters)
    if isinstance(wish.evaluate, dict) and algorithm.evaluations:
        unknown = sorted(set(wish.evaluate) - set(algorithm.evaluations))
        if unknown:
            raise SubmissionError(
                f"{algorithm_id!r} has no evaluation {unknown[0]!r:.100}.",
                hint=f"It has {', '.join(algorithm.evaluations)}.",
            )
    priority = wish.priority
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= MOST_URGENT:
        raise SubmissionError(
            f"'priority' is not an integer from 0 to {MOST_URGENT}.", hint="Higher priorities run first."
        )
    for target in wish.targets:
        check_callback(target, rules.settings)
        rules.guard.check(target.url)
    return lambda features_format: TaskRow(
        job_id=str(uuid.uuid4()),
        owner=owner,
        kind=kind,
        algorithm=algorithm.name,
        version=found.version,
        features_format=features_format,
        parameters=parameters,
        evaluate=wish.evaluate,
        options=wish.options if traceparent is None else {**wish.options, TRACEPARENT: traceparent},
        priority=priority,
    )


def _receive(source: BinaryIO, scratch: Scratch, stack: ExitStack) -> tuple[Path | bytes, str]:
    """Take features, the small ones into memory: a file for each would be most of the time of a batch."""
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
    """Hold features against what the algorithm declares, where that is soon done; others are when they are read."""
    declared = rules.catalogue.get(task.owner, task.algorithm, task.version).algorithm.features
    small = task.features_format == features.JSON and isinstance(received, bytes)
    if declared is not None and task.kind == PREDICT and small:
        declared.check(features.Features(received, task.features_format))


def _options(form: Form, kind: str) -> dict[str, Any]:
    options: dict[str, Any] = {name: form.text(name) for name in ("monitor", "compression") if form.text(name)}
    if kind == FIT:
        options["export_new_version"] = _bool(form.text("export_new_version") or "false", "export_new_version")
    return options


def _evaluate(form: Form) -> bool | dict[str, Any]:
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
        return USUAL_PRIORITY
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise SubmissionError(f"{name!r} is not an integer.", hint="Send digits only.")
    return int(text)


def _parsed(text: Secret[bytes], name: str) -> Secret[Any]:
    if weigh(text.reveal()) > _MAX_PARTS:
        raise SubmissionError(f"{name!r} has too many values.", hint="Send large data as features.")
    try:
        value = Secret(decode(text.reveal()))
    except ValueError as error:
        reason = str(error)
        value = None
    if value is None:
        raise SubmissionError(f"{name!r} is not JSON: {reason}.", hint="Send the output of json.dumps.")
    if _is_deep(value):
        raise SubmissionError(f"{name!r} is nested deeper than {_DEEPEST} levels.", hint="Reduce the nesting.")
    # Neither databases nor headers nor logs can hold one.
    if has_lone_surrogate(value.reveal()):
        raise SubmissionError(f"{name!r} has a text that is not valid Unicode.", hint="Replace its lone surrogates.")
    return value


def _is_deep(value: Secret[Any]) -> bool:
    level = Secret([value.reveal()])
    for _ in range(_DEEPEST):
        level = Secret([child for item in level.reveal() for child in _children(item)])
        if not level.reveal():
            return False
    return True


def _children(item: Any) -> Iterable[Any]:
    return item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Put the place into the message of whatever error of ours passes."""
    try:
        yield
    except CallbackSDKError as error:
        error.message = f"{where}: {error.message}"
        raise


def _add(total: Any, name: bytes, value: bytes) -> None:
    for part in (name, value):
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)


def _digest(file: BinaryIO) -> bytes:
    file.seek(0)
    found = hashlib.sha256()
    while chunk := file.read(CHUNK_SIZE):
        found.update(chunk)
    file.seek(0)
    return found.digest()
