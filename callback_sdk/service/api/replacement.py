"""Parses and validates a redelivery: the new target of a delivery, or none."""

from __future__ import annotations

from typing import Any

from callback_sdk.errors import CallbackParamError, TargetError
from callback_sdk.redaction import Secret, SecretFields
from callback_sdk.service.api.fields import SubmissionError, parse_json
from callback_sdk.service.api.submission import Rules, checked_target
from callback_sdk.service.store.replacements import NewTarget
from callback_sdk.targets import Target, objects, plan
from callback_sdk.targets.callbacks import Callback, parse_callbacks


def read_redelivery(body: Secret[bytes], rules: Rules, job_id: str) -> NewTarget | None:
    """Return the new target of a redelivery; None if it has none.

    Args:
        body: The request's body: empty, or JSON `{"target": {"url": ..., "param": ...}}`.
        rules: The validation rules.
        job_id: The task.

    Raises:
        SubmissionError: The body is neither.
        TargetError: The result could never be delivered to the target.
    """
    given = Secret(parse_json(body.reveal(), "body"))
    if given.reveal() is None or given.reveal() == {}:
        return None
    if not isinstance(given.reveal(), dict) or given.reveal().keys() != {"target"}:
        raise SubmissionError(
            "The body is not a JSON object with a target.",
            hint='Send {"target": {"url": ..., "param": ...}}, or nothing.',
        )
    return read_new_target(Secret(given.reveal()["target"]), rules, job_id)


def read_new_target_text(text: Secret[str], rules: Rules, job_id: str) -> NewTarget | None:
    """Return the new target of a form on a page; None if its field is empty.

    Args:
        text: A URL, or JSON with `url` and `param`.
        rules: The validation rules.
        job_id: The task.

    Raises:
        SubmissionError: It is neither.
        TargetError: The result could never be delivered to it.
    """
    if not text.reveal().strip():
        return None
    is_json = text.reveal().lstrip().startswith(("{", "["))
    given = Secret(parse_json(text.reveal().encode(errors="replace"), "target")) if is_json else text
    return read_new_target(given, rules, job_id)


def read_new_target(given: Secret[Any], rules: Rules, job_id: str) -> NewTarget:
    """Return a new target.

    Args:
        given: A URL, or an object with `url` and `param`.
        rules: The validation rules.
        job_id: The task.

    Raises:
        TargetError: The result could never be delivered to it.
    """
    found = parse_callbacks(Secret([given.reveal()])) if given.reveal() else ()
    if not found:
        raise CallbackParamError("There is no new target.", hint='Send {"url": "https://...", "param": {}}.')
    target = checked_target(found[0], rules, job_id)
    return NewTarget(target=target, plan=lambda callback: plan(callback, rules.settings))


def plan_stored(callback: Callback, rules: Rules) -> Target | None:
    """Return the target of a stored callback; None for `results:`, which is signed at each attempt.

    Raises:
        TargetError: An earlier version accepted the target, and this one can't send to it.
    """
    return None if callback.is_results else plan(callback, rules.settings)


def is_same_place(new: Target, stored: tuple[str | None, Callback] | None, rules: Rules, job_id: str) -> bool:
    """Return whether a new target is only a new signature: it sends the result to where it was to go already.

    Args:
        new: The new target.
        stored: Output name and target of the delivery; None if no key opens the target.
        rules: The validation rules.
        job_id: The task.
    """
    old = None if stored is None else stored[1]
    if old is None or new.callback.issuer not in (None, old.issuer):
        return False
    if new.callback.webhook != old.webhook:
        # Its headers may say where the document goes, and its secret proves to the receiver who has sent it.
        return False
    if new.callback.http is not None or old.http is not None:
        # The query of a plain PUT may say where the object goes, and so may a further header.
        return new.callback.url == old.url and _names(new.callback.http) == _names(old.http)
    try:
        return objects.is_same_place(new, _plan_target(old, rules, job_id))
    except TargetError:
        # An earlier version accepted the old target.
        return False


def _names(headers: SecretFields | None) -> set[str] | None:
    return None if headers is None else set(headers.reveal())


def _plan_target(callback: Callback, rules: Rules, job_id: str) -> Target:
    if callback.is_results and rules.bucket is not None:
        return Target(callback=rules.bucket.with_shown_url(callback, job_id))
    return plan(callback, rules.settings)
