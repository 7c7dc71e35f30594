"""The targets of a submission: parsed from one of three arguments, and validated."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from callback_sdk.errors import CallbackParamError
from callback_sdk.outputs.names import named_targets
from callback_sdk.redaction import Secret
from callback_sdk.targets import Target, TargetSettings, check_callback
from callback_sdk.targets.callbacks import Callback, parse_callbacks
from callback_sdk.targets.members import DEFAULT_EVENTS
from callback_sdk.targets.places import Places, ResultTarget, check_takes_files
from callback_sdk.text.escaping import escape

logger = logging.getLogger(__name__)

_MAX_WARNINGS = 20
"""Different warnings that one client logs."""


class CallbackResolver:
    """Converts the callback arguments of a call to validated targets.

    Args:
        default: Callback URLs of tasks that name no target.
        settings: Settings of the checks.
    """

    def __init__(self, default: Secret[Any], settings: TargetSettings) -> None:
        self._default = default
        self._settings = settings
        self._warned: set[str] = set()

    def resolve(self, given: Secret[tuple[Any, Any, Any]]) -> tuple[Callback, ...]:
        """Return the targets of `callback_url`, `callback_param` and `callbacks`.

        Raises:
            TargetError: A result can't be delivered to one of the targets.
        """
        url, param, callbacks = (Secret(value) for value in given.reveal())
        has_url = url.reveal() is not None
        if callbacks.reveal() is not None:
            if has_url or param.reveal() is not None:
                raise CallbackParamError(
                    "callbacks= is given together with callback_url= or callback_param=.",
                    hint="Give all targets in callbacks=, those with a parameter as (url, param).",
                )
            return self.resolve_list(callbacks)
        if param.reveal() and not has_url and self._default.reveal() is None:
            raise CallbackParamError("callback_param= is given without callback_url=.", hint="Give the URL too.")
        return self._check(parse_callbacks(url if has_url else self._default, param))

    def resolve_list(self, callbacks: Secret[Any]) -> tuple[Callback, ...]:
        """Return the targets of `callbacks`, a list or a single one.

        Raises:
            TargetError: A result can't be delivered to one of the targets.
        """
        return self._check(parse_callbacks(Secret(_to_list(callbacks.reveal()))))

    def resolve_outputs(self, outputs: Secret[Any], documents: Iterable[Callback]) -> dict[str, Callback]:
        """Return the targets of single output files, by name.

        Args:
            outputs: A target for each name, or None.
            documents: The resolved targets of the document, whose objects no file may replace.

        Raises:
            OutputError: It is not a dict, a name is not valid, or two targets are the same object.
            TargetError: A file can't be delivered to one of the targets.
        """
        # The service knows the objects of its own bucket.
        places = Places()
        for index, one in enumerate(documents):
            if not one.is_results:
                places.put(index, ResultTarget.of(None, check_callback(one, self._settings)))
        found: dict[str, Callback] = {}
        for name, given in named_targets(outputs).items():
            callback = found[name] = self.resolve_one(given)
            target = Target(callback=callback) if callback.is_results else check_callback(callback, self._settings)
            check_takes_files(name, target)
            places.add(name, ResultTarget.of_file(name, target))
        return found

    def resolve_one(self, target: Secret[Any]) -> Callback:
        """Return a single target.

        Raises:
            TargetError: A result can't be delivered to it.
        """
        (found,) = self._check(parse_callbacks(Secret([target.reveal()])))
        return found

    def resolve_done(self, target: Secret[Any]) -> Callback | None:
        """Return the target that is told of the end of a batch; None without one.

        Raises:
            TargetError: The document can't be delivered to it, or it subscribes to events of tasks.
        """
        if target.reveal() is None:
            return None
        callback = self.resolve_one(target)
        if callback.is_results or callback.events != DEFAULT_EVENTS:
            raise CallbackParamError(
                "done= is results:, or subscribes to events.",
                hint="Give a webhook or a presigned URL: it is sent one document when all tasks have ended.",
            )
        return callback

    def _check(self, targets: tuple[Callback, ...]) -> tuple[Callback, ...]:
        for callback in targets:
            if callback.is_results:
                # The service checks its name, and signs its URL.
                Target(callback=callback).check_events()
                continue
            target = check_callback(callback, self._settings)
            for text in target.warnings(datetime.now(timezone.utc)):
                self.warn(text, f"{callback.url}: {text}")
        return targets

    def warn(self, text: str, message: str | None = None) -> None:
        """Log a warning, once for all targets that have the same: a batch may have very many.

        Args:
            text: The warning.
            message: The text to log; the warning itself if None.
        """
        if text not in self._warned and len(self._warned) < _MAX_WARNINGS:
            self._warned.add(text)
            # The service's text may be anything.
            logger.warning("%s", escape(message or text))


def _to_list(targets: Any) -> Any:
    return list(targets) if isinstance(targets, Iterable) and not isinstance(targets, (str, Mapping)) else [targets]
