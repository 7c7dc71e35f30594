"""What somebody submits: from the form of a request to a task, its features and its targets, all checked."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, BinaryIO

import orjson
from attrs import define, field

from callback_sdk.callbacks import Callback, callbacks
from callback_sdk.errors import CallbackParamError, CallbackSDKError, FeaturesError, InvalidTargetError
from callback_sdk.guard import AddressGuard
from callback_sdk.redaction import Secret
from callback_sdk.service import features
from callback_sdk.service.blobs import remove
from callback_sdk.service.hub import Hub
from callback_sdk.service.records import NewTask
from callback_sdk.targets import Settings, check_callback

_WORDS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}

MAX_PARAMETERS = 1024 * 1024
"""Bytes of the file `parameters`."""


class SubmissionError(CallbackSDKError, ValueError):
    """A field of the form can't be read; the text names it."""


@define(frozen=True, kw_only=True)
class Form:
    """The fields and files of a request, as they came.

    Attributes:
        fields: Text by name; a value may hold credentials.
        files: Uploads by name.
    """

    fields: Mapping[str, Secret[str]] = field(repr=False)
    files: Mapping[str, BinaryIO] = field(repr=False)

    def text(self, name: str) -> str | None:
        """Return a field that is no credential; None when it is missing or empty."""
        value = self.fields.get(name)
        return value.reveal().strip() or None if value is not None else None

    def json(self, name: str) -> Secret[Any]:
        """Return a field or a file of JSON, None when it is missing or empty.

        Raises:
            SubmissionError: It is something else.
        """
        text: Secret[str] | Secret[bytes] | None = self.fields.get(name)
        if text is None and name in self.files:
            text = Secret(self.files[name].read(MAX_PARAMETERS + 1))
            if len(text.reveal()) > MAX_PARAMETERS:
                raise SubmissionError(f"{name!r} has more than {MAX_PARAMETERS} bytes.", hint="Send less.")
        if text is None or not text.reveal().strip():
            return Secret(None)
        try:
            return Secret(orjson.loads(text.reveal()))
        except orjson.JSONDecodeError:
            pass
        raise SubmissionError(f"{name!r} is not JSON.", hint="Send it as json.dumps makes it.")


def accept(
    hub: Hub, algorithm_id: str, form: Form, *, settings: Settings, guard: AddressGuard, max_callbacks: int
) -> str:
    """Check everything, then accept the task for good.

    Args:
        hub: What runs it.
        algorithm_id: Which algorithm.
        form: What came.
        settings: How targets are told apart.
        guard: Which hosts they may be at.
        max_callbacks: How many targets one task may have.

    Returns:
        The task's id.

    Raises:
        UnknownAlgorithmError: There is no such algorithm or version.
        TargetError: A result could never be delivered to one of the targets.
        FeaturesError: The features are no table.
        SubmissionError: Another field can't be read.
    """
    algorithm = hub.registry.get(algorithm_id, form.text("version"))
    parameters = form.json("parameters").reveal() or {}
    if not isinstance(parameters, dict):
        raise SubmissionError("'parameters' is not a JSON object.", hint='Send a dict, such as {"exponent": 2}.')
    targets = read_targets(form, max_callbacks)
    for target in targets:
        check_callback(target, settings)
        guard.check(target.url)
    if "features" not in form.files:
        raise FeaturesError("The request has no file 'features'.", hint="Send Parquet or JSON as a file of this name.")
    path = hub.blobs.receive(form.files["features"])
    try:
        format_ = features.sniff(path)
        features.check(path, format_)
        task = NewTask(
            job_id=str(uuid.uuid4()),
            algorithm=algorithm.name,
            version=algorithm.version,
            features_format=format_,
            parameters=parameters,
            evaluate=_evaluate(form),
            options={name: form.text(name) for name in ("monitor", "compression") if form.text(name)},
        )
        hub.submit(task, path, targets)
    finally:
        remove(path)
    return task.job_id


def read_targets(form: Form, max_callbacks: int) -> tuple[Callback, ...]:
    """Read the targets from `callbacks`, or from `callback_url` and `callback_param`.

    Raises:
        TargetError: They can't be read, or there are too many.
    """
    if "callbacks" in form.fields:
        if form.text("callback_url"):
            raise CallbackParamError("Both 'callbacks' and 'callback_url' came.", hint="Send one of the two.")
        urls, param = form.json("callbacks"), Secret(None)
        if not isinstance(urls.reveal(), (list, type(None))):
            raise CallbackParamError("'callbacks' is not a JSON list.", hint='Send [{"url": ..., "param": ...}, ...].')
    else:
        text = form.fields.get("callback_url", Secret(""))
        urls = Secret([url.strip() for url in text.reveal().split("|")] if text.reveal().strip() else None)
        param = form.json("callback_param")
    count = len(urls.reveal() or ())
    if count > max_callbacks:
        raise InvalidTargetError(
            f"The task has {count} callbacks, and this service takes {max_callbacks}.", hint="Send fewer."
        )
    return callbacks(urls, param) if count else ()


def _evaluate(form: Form) -> bool | dict[str, Any]:
    text = (form.text("evaluate") or "true").lower()
    if text in _WORDS:
        return _WORDS[text]
    value = form.json("evaluate").reveal()
    if not isinstance(value, dict):
        raise SubmissionError("'evaluate' is neither true, false nor a JSON object.", hint="Send one of these.")
    return value
