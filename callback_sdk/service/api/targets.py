"""Targets as requested: the fields `callbacks`, or `callback_url` and `callback_param`, of a form or a batch's item."""

from __future__ import annotations

from typing import Any

from attrs import define

from callback_sdk.errors import CallbackParamError, InvalidTargetError, OutputError
from callback_sdk.outputs.names import checked_name
from callback_sdk.redaction import Secret, clearing_locals
from callback_sdk.service.api.fields import SubmittedForm
from callback_sdk.service.api.subscribers import subscriber_callbacks
from callback_sdk.targets.callbacks import Callback, parse_callbacks


@define(frozen=True)
class RequestedTarget:
    """A target, and the output file that it is for; None for the document."""

    callback: Callback
    output: str | None = None


def read_targets(form: SubmittedForm, max_callbacks: int) -> tuple[RequestedTarget, ...]:
    """Parse the targets from `callbacks`, or from `callback_url` and `callback_param`, and from `subscriber`.

    Raises:
        TargetError: The targets are invalid, or too many.
    """
    return with_subscriber(_read_targets(form, max_callbacks), form.json("subscriber"), max_callbacks)


def with_subscriber(
    targets: tuple[RequestedTarget, ...], subscriber: Secret[Any], max_callbacks: int
) -> tuple[RequestedTarget, ...]:
    """Return targets and those of a subscriber.

    Raises:
        TargetError: The subscriber is invalid, or there are too many targets.
    """
    further = subscriber_callbacks(subscriber)
    if not further.reveal():
        return targets
    _check_count(len(targets) + len(further.reveal()), max_callbacks)
    return (*targets, *parse_targets(further, Secret(None), max_callbacks))


def _read_targets(form: SubmittedForm, max_callbacks: int) -> tuple[RequestedTarget, ...]:
    if "callbacks" in form.fields:
        if form.text("callback_url"):
            raise CallbackParamError("Both 'callbacks' and 'callback_url' were sent.", hint="Send one of the two.")
        return parse_targets(form.json("callbacks"), Secret(None), max_callbacks)
    urls = Secret(_split_urls(form.fields["callback_url"].reveal()) if "callback_url" in form.fields else None)
    return parse_targets(urls, form.json("callback_param"), max_callbacks)


@clearing_locals
def _split_urls(text: str) -> list[str] | None:
    return [url.strip() for url in text.split("|")] if text.strip() else None


def parse_targets(urls: Secret[Any], param: Secret[Any], max_callbacks: int) -> tuple[RequestedTarget, ...]:
    """Parse the targets from a list of callbacks, or from URLs and their parameters.

    Raises:
        TargetError: The targets are invalid, or too many.
    """
    if not _count_targets(urls.reveal(), max_callbacks):
        return ()
    names = tuple(map(_output_name, urls.reveal()))
    callbacks = parse_callbacks(Secret(_without_outputs(urls.reveal())), param)
    return tuple(map(RequestedTarget, callbacks, names))


@clearing_locals
def _output_name(item: Any) -> str | None:
    if not isinstance(item, dict) or item.get("output") is None:
        return None
    try:
        return checked_name(item["output"])
    except OutputError as error:
        problem, hint = error.message, error.hint
    raise CallbackParamError(f"'output' of a callback: {problem}", hint=hint)


@clearing_locals
def _without_outputs(items: Any) -> list[Any]:
    return [
        {name: value for name, value in item.items() if name != "output"} if isinstance(item, dict) else item
        for item in items
    ]


@clearing_locals
def _count_targets(urls: Any, max_callbacks: int) -> int:
    if not isinstance(urls, (list, type(None))):
        raise CallbackParamError("'callbacks' is not a JSON list.", hint='Send [{"url": ..., "param": ...}, ...].')
    count = len(urls or ())
    _check_count(count, max_callbacks)
    return count


def _check_count(count: int, max_callbacks: int) -> None:
    if count > max_callbacks:
        raise InvalidTargetError(
            f"The task has {count} callbacks, and the limit is {max_callbacks}.", hint="Send fewer callbacks."
        )
