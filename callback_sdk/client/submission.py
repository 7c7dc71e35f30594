"""The form that submits a job, without its files; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from callback_sdk.callbacks import Callback
from callback_sdk.document import encode
from callback_sdk.errors import InvalidRequestError
from callback_sdk.redaction import Secret, SecretFields

_SEPARATOR = "|"
"""What the API joins callback URLs with. URLs that have one in them go into our own field `callbacks`."""


def form_fields(
    targets: Sequence[Callback],
    *,
    version: str | None,
    evaluate: bool | Mapping[str, Any],
    monitor: bool,
    compression: str | None,
) -> SecretFields:
    """Return names and values of the form's fields; the targets' credentials are among them.

    Raises:
        InvalidRequestError: One has a type or a character that it can't have.
        EncodingError: `evaluate` or a `callback_param` holds what JSON can't.
    """
    fields = {
        "version": _text("version", version),
        "evaluate": _flag("evaluate", evaluate),
        "monitor": _flag("monitor", monitor),
        "compression": _text("compression", compression),
    }
    given = {name: value for name, value in fields.items() if value is not None}
    return SecretFields({**given, **_callback_fields(targets).reveal()})


def credentials(targets: Sequence[Callback]) -> Secret[tuple[str, ...]]:
    """Return every string of the targets that nobody may see."""
    found: list[str] = []
    for target in targets:
        found += [value for _, value in parse_qsl(target.url.reveal().partition("?")[2])]
        for secret in (target.fields, target.headers):
            found += secret.reveal().values() if secret is not None else ()
    return Secret(tuple(found))


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
    return encode(value.reveal(), path=name).data.decode()


def _flag(name: str, value: bool | Mapping[str, Any]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping) and name == "evaluate":
        return encode(dict(value), path=name).data.decode()
    raise InvalidRequestError(f"{name} is of type {type(value).__name__}.", hint="Give True or False.")


def _text(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.isprintable() or not value:
        raise InvalidRequestError(f"{name} is {value!r:.100}.", hint="Give a string, or leave it out.")
    return value
