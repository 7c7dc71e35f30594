"""The fields of the form that submits a task, without its files."""

from __future__ import annotations

import operator
import uuid
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from callback_sdk.documents.body import Body, Part
from callback_sdk.documents.document import encode
from callback_sdk.errors import ConfigurationError, InvalidRequestError
from callback_sdk.parsing import Duration, total_seconds
from callback_sdk.redaction import Secret, SecretFields, hides_tracebacks
from callback_sdk.targets.callbacks import Callback
from callback_sdk.text.descriptions import short_repr, type_name

MAX_KEY_LENGTH = 255
"""Maximum characters of an idempotency key."""

_SMALL = 64 * 1024
"""Maximum bytes of a part that is joined with its neighbours."""

_SEPARATOR = "|"
"""Separator of several callback URLs in the API. URLs that contain it are sent in the field `callbacks` instead."""


def form_fields(
    targets: Sequence[Callback],
    *,
    outputs: Mapping[str, Callback] | None = None,
    version: str | None,
    evaluate: bool | Mapping[str, Any] | None = None,
    monitor: bool | None = None,
    compression: str | None = None,
    priority: int | None = None,
    expires: Duration | None = None,
    export_new_version: bool | None = None,
) -> SecretFields:
    """Return names and values of the form's fields, including the targets' credentials.

    Options that are None are omitted, so that the service uses its defaults.

    Raises:
        InvalidRequestError: A value has a wrong type, or a character that is not allowed.
        EncodingError: `evaluate` or a `callback_param` can't be represented in JSON.
    """
    fields = {
        "version": _text("version", version),
        "evaluate": _flag("evaluate", evaluate),
        "monitor": _flag("monitor", monitor),
        "compression": _text("compression", compression),
        "priority": None if priority is None else str(_priority(priority)),
        "expires": None if expires is None else f"{expiry_seconds(expires):f}",
        "export_new_version": _flag("export_new_version", export_new_version),
    }
    given = {name: value for name, value in fields.items() if value is not None}
    return SecretFields({**given, **_callback_fields(targets, outputs or {}).reveal()})


def credentials(targets: Sequence[Callback]) -> Secret[tuple[str, ...]]:
    """Return all strings of the targets that are credentials."""
    found: list[str] = []
    for target in targets:
        found += target.url.secrets().reveal()
        found += target.credentials().reveal()
    return Secret(tuple(found))


def join_parts(body: Body) -> Body:
    """Join small parts of a body, because each would be sent in a separate packet."""
    return Body(*_join_small(body.parts))


def task_item(
    index: int | None,
    targets: Sequence[Callback],
    *,
    outputs: Mapping[str, Callback],
    parameters: Mapping[str, Any] | None,
    version: str | None,
    evaluate: bool | Mapping[str, Any],
    monitor: bool,
    priority: int | None,
    expires: Duration | None,
) -> Secret[dict[str, Any]]:
    """Return the JSON object of one task of a batch.

    Args:
        index: Index of the file with its features; None for none.
        targets: The targets of its result.
        outputs: The targets of single output files, by name.
        parameters: The algorithm's parameters.
        version: The algorithm's version.
        evaluate: Whether to evaluate the predictions, or a dict with the options of each evaluation.
        monitor: Whether to run the algorithm's monitors.
        priority: 0 to 9; higher runs first.
        expires: Time in which the task must be started.

    Raises:
        InvalidRequestError: A value has a wrong type, or a character that is not allowed.
    """
    if not isinstance(parameters, (Mapping, type(None))):
        raise InvalidRequestError(f"parameters is of type {type_name(parameters)}.", hint="Give a dict.")
    # The values are validated like those of a form.
    form_fields((), version=version, evaluate=evaluate, monitor=monitor, priority=priority)
    members = {
        "parameters": None if parameters is None else dict(parameters),
        "version": version,
        "evaluate": dict(evaluate) if isinstance(evaluate, Mapping) else evaluate,
        "monitor": monitor,
        "priority": priority,
        "expires": None if expires is None else expiry_seconds(expires),
    }
    given = {name: value for name, value in members.items() if value is not None}
    callbacks = _plain(targets, outputs)
    # The service takes the file at the task's own position if the member is absent.
    return Secret({"features": index, **given, **({"callbacks": callbacks.reveal()} if callbacks.reveal() else {})})


def _join_small(parts: Sequence[Part]) -> Iterator[Part]:
    for is_small, group in groupby(parts, lambda part: isinstance(part, bytes) and len(part) < _SMALL):
        if is_small:
            yield b"".join(part for part in group if isinstance(part, bytes))
        else:
            yield from group


def _priority(priority: Any) -> int:
    number = whole_number(priority)
    if number is None or not 0 <= number <= 9:
        raise InvalidRequestError(
            f"priority is {short_repr(priority)}.", hint="Give a whole number from 0 to 9; higher runs first."
        )
    return number


def expiry_seconds(expires: Duration) -> float:
    """Validate the time in which a task must be started, and return it in seconds.

    Raises:
        InvalidRequestError: The value is not a positive duration.
    """
    try:
        return total_seconds("expires", expires)
    except ConfigurationError as error:
        raise InvalidRequestError(error.message, hint=error.hint) from None


def whole_number(value: Any) -> int | None:
    """Convert an integer of Python or NumPy to `int`; return None for any other value."""
    try:
        return None if isinstance(value, bool) or _is_numpy_bool(value) else operator.index(value)
    except TypeError:
        return None


def checked_key(key: str | None, *, max_length: int = MAX_KEY_LENGTH) -> str:
    """Validate an idempotency key; generate one if it is None.

    Raises:
        InvalidRequestError: The key is invalid.
    """
    if key is None:
        return str(uuid.uuid4())
    if not isinstance(key, str) or not 1 <= len(key) <= max_length or not key.isascii() or not key.isprintable():
        raise InvalidRequestError(
            f"idempotency_key is {short_repr(key)}.", hint=f"Give 1 to {max_length} printable ASCII characters."
        )
    # Whitespace around a header's value is not a part of the value (RFC 9110, section 5.5).
    if key != key.strip():
        raise InvalidRequestError("idempotency_key has a space around it.", hint="Remove the space.")
    return key


def _callback_fields(targets: Sequence[Callback], outputs: Mapping[str, Callback]) -> SecretFields:
    if outputs or any(_SEPARATOR in target.url.reveal() for target in targets):
        return SecretFields({"callbacks": _json("callbacks", _plain(targets, outputs))})
    if not targets:
        return SecretFields({})
    params = Secret([target.plain()["param"] for target in targets])
    return SecretFields(
        {
            "callback_url": _SEPARATOR.join(target.url.reveal() for target in targets),
            "callback_param": _json("callback_param", params if len(targets) > 1 else Secret(params.reveal()[0])),
        }
    )


def _plain(targets: Sequence[Callback], outputs: Mapping[str, Callback]) -> Secret[list[dict[str, Any]]]:
    own = [{**callback.plain(), "output": name} for name, callback in outputs.items()]
    return Secret([*(target.plain() for target in targets), *own])


def _json(name: str, value: Secret[Any]) -> str:
    return encode_value(name, value).reveal().decode()


@hides_tracebacks
def encode_value(name: str, value: Secret[Any]) -> Secret[bytes]:
    """Encode a value with credentials as JSON. The traceback of an error has no frame with the value.

    Raises:
        EncodingError: The value can't be represented in JSON; the message names the path, which starts with `name`.
    """
    return Secret(encode(value.reveal(), path=name, only_finite=True).data)


def _flag(name: str, value: bool | Mapping[str, Any] | None) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or _is_numpy_bool(value):
        return "true" if value else "false"
    if isinstance(value, Mapping) and name == "evaluate":
        return encode(dict(value), path=name, only_finite=True).data.decode()
    or_a_dict = ", or a dict of evaluations and their options" if name == "evaluate" else ""
    raise InvalidRequestError(f"{name} is of type {type_name(value)}.", hint=f"Give True or False{or_a_dict}.")


def _is_numpy_bool(value: Any) -> bool:
    return getattr(value, "ndim", None) == 0 and getattr(getattr(value, "dtype", None), "kind", "") == "b"


def _text(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.isprintable() or not value:
        raise InvalidRequestError(f"{name} is {short_repr(value)}.", hint="Give a string, or omit the argument.")
    return value
