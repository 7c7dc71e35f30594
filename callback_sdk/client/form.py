"""The form that submits a job, without its files; pure."""

from __future__ import annotations

import operator
import uuid
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any
from urllib.parse import parse_qsl

from callback_sdk.documents.body import Body, Part
from callback_sdk.documents.document import encode
from callback_sdk.errors import InvalidRequestError, type_name
from callback_sdk.redaction import Secret, SecretFields, hides_tracebacks
from callback_sdk.targets.callbacks import Callback

MAX_KEY_LENGTH = 255
"""Characters of an idempotency key."""

_SMALL = 64 * 1024
"""Bytes of a part that is sent together with its neighbours."""

_SEPARATOR = "|"
"""What the API joins callback URLs with. URLs that have one in them go into our own field `callbacks`."""


def form_fields(
    targets: Sequence[Callback],
    *,
    version: str | None,
    evaluate: bool | Mapping[str, Any] | None = None,
    monitor: bool | None = None,
    compression: str | None = None,
    priority: int | None = None,
    export_new_version: bool | None = None,
) -> SecretFields:
    """Return names and values of the form's fields; the targets' credentials are among them.

    What is None is left to the service.

    Raises:
        InvalidRequestError: One has a type or a character that it can't have.
        EncodingError: `evaluate` or a `callback_param` holds what JSON can't.
    """
    fields = {
        "version": _text("version", version),
        "evaluate": _flag("evaluate", evaluate),
        "monitor": _flag("monitor", monitor),
        "compression": _text("compression", compression),
        "priority": None if priority is None else str(_priority(priority)),
        "export_new_version": _flag("export_new_version", export_new_version),
    }
    given = {name: value for name, value in fields.items() if value is not None}
    return SecretFields({**given, **_callback_fields(targets).reveal()})


def credentials(targets: Sequence[Callback]) -> Secret[tuple[str, ...]]:
    """Return every string of the targets that nobody may see."""
    found: list[str] = []
    for target in targets:
        found += [value for _, value in parse_qsl(target.url.reveal().partition("?")[2])]
        found += target.credentials().reveal()
    return Secret(tuple(found))


def joined(body: Body) -> Body:
    """Put small parts of a body together: each would be a packet of its own, and wake the service up."""
    return Body(*_joined(body.parts))


def task_item(
    index: int,
    targets: Sequence[Callback],
    *,
    parameters: Mapping[str, Any] | None,
    version: str | None,
    evaluate: bool | Mapping[str, Any],
    monitor: bool,
    priority: int | None,
) -> Secret[dict[str, Any]]:
    """Return one task of a batch as its JSON has it.

    Args:
        index: Which of the files its features are.
        targets: Where its result goes.
        parameters: The algorithm's parameters.
        version: The algorithm's version.
        evaluate: Whether to evaluate the predictions, or what that needs to know.
        monitor: Whether to keep watch over the output.
        priority: 0 to 9.

    Raises:
        InvalidRequestError: One has a type or a character that it can't have.
    """
    if not isinstance(parameters, (Mapping, type(None))):
        raise InvalidRequestError(f"parameters is of type {type_name(parameters)}.", hint="Give a dict.")
    # The checks are those of a form.
    form_fields((), version=version, evaluate=evaluate, monitor=monitor, priority=priority)
    members = {
        "features": index,
        "parameters": None if parameters is None else dict(parameters),
        "version": version,
        "evaluate": dict(evaluate) if isinstance(evaluate, Mapping) else evaluate,
        "monitor": monitor,
        "priority": priority,
    }
    given = {name: value for name, value in members.items() if value is not None}
    return Secret(given | ({"callbacks": [target.plain() for target in targets]} if targets else {}))


def _joined(parts: Sequence[Part]) -> Iterator[Part]:
    for is_small, group in groupby(parts, lambda part: isinstance(part, bytes) and len(part) < _SMALL):
        if is_small:
            yield b"".join(part for part in group if isinstance(part, bytes))
        else:
            yield from group


def _priority(priority: Any) -> int:
    number = whole_number(priority)
    if number is None or not 0 <= number <= 9:
        raise InvalidRequestError(
            f"priority is {priority!r:.100}.", hint="Give a whole number from 0 to 9; the higher goes first."
        )
    return number


def whole_number(value: Any) -> int | None:
    """Return an integer of Python's or NumPy's as Python's own; None for anything else."""
    try:
        return None if isinstance(value, bool) or _is_numpy_bool(value) else operator.index(value)
    except TypeError:
        return None


def checked_key(key: str | None, *, max_length: int = MAX_KEY_LENGTH) -> str:
    """Return an idempotency key; a new one when there is none.

    Raises:
        InvalidRequestError: It can't be one.
    """
    if key is None:
        return str(uuid.uuid4())
    if not isinstance(key, str) or not 1 <= len(key) <= max_length or not key.isascii() or not key.isprintable():
        raise InvalidRequestError(
            f"idempotency_key is {key!r:.100}.", hint=f"Give 1 to {max_length} printable ASCII characters."
        )
    # A header's value loses the spaces around it.
    if key != key.strip():
        raise InvalidRequestError("idempotency_key has a space around it.", hint="Take it away.")
    return key


def _callback_fields(targets: Sequence[Callback]) -> SecretFields:
    if not targets:
        return SecretFields({})
    if any(_SEPARATOR in target.url.reveal() for target in targets):
        return SecretFields({"callbacks": _json("callbacks", Secret([target.plain() for target in targets]))})
    params = Secret([target.plain()["param"] for target in targets])
    return SecretFields(
        {
            "callback_url": _SEPARATOR.join(target.url.reveal() for target in targets),
            "callback_param": _json("callback_param", params if len(targets) > 1 else Secret(params.reveal()[0])),
        }
    )


def _json(name: str, value: Secret[Any]) -> str:
    return encoded(name, value).reveal().decode()


@hides_tracebacks
def encoded(name: str, value: Secret[Any]) -> Secret[bytes]:
    """Return JSON of what has credentials in it; an error has no frame that holds them.

    Raises:
        EncodingError: JSON can't hold something in it; the error names the path, which begins with the name.
    """
    return Secret(encode(value.reveal(), path=name, only_finite=True).data)


def _flag(name: str, value: bool | Mapping[str, Any] | None) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or _is_numpy_bool(value):
        return "true" if value else "false"
    if isinstance(value, Mapping) and name == "evaluate":
        return encode(dict(value), path=name, only_finite=True).data.decode()
    or_a_dict = ", or a dict of evaluations and what each of them needs" if name == "evaluate" else ""
    raise InvalidRequestError(f"{name} is of type {type_name(value)}.", hint=f"Give True or False{or_a_dict}.")


def _is_numpy_bool(value: Any) -> bool:
    return getattr(value, "ndim", None) == 0 and getattr(getattr(value, "dtype", None), "kind", "") == "b"


def _text(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.isprintable() or not value:
        raise InvalidRequestError(f"{name} is {value!r:.100}.", hint="Give a string, or leave it out.")
    return value
