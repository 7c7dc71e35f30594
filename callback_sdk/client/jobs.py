"""What the client submits: one task, one training, or many tasks at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from callback_sdk import tracing
from callback_sdk.client.base import ClientBase, parse_response, segment
from callback_sdk.client.batch import Batch, BatchItem, Options
from callback_sdk.client.failures import public
from callback_sdk.client.features import parameters_file, prepared
from callback_sdk.client.interrupts import naming_key
from callback_sdk.client.progress import ProgressBar
from callback_sdk.client.resources import Task
from callback_sdk.client.responses import accepted, may_be_accepted
from callback_sdk.client.states import TaskSnapshot
from callback_sdk.client.form import checked_key, credentials, form_fields, joined
from callback_sdk.documents.multipart import encode_form
from callback_sdk.errors import CallbackParamError, NotFoundError, ServiceError
from callback_sdk.redaction import Secret
from callback_sdk.targets import check_callback
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.callbacks import callbacks as paired
from callback_sdk.text.html import HTMLList


class Jobs(ClientBase):
    """The submitting of jobs; see `Client`."""

    @public
    def run_algorithm(
        self,
        algorithm_id: str,
        features: Any,
        *,
        version: str | None = None,
        evaluate: bool | Mapping[str, Any] = True,
        parameters: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        callback_url: Any = None,
        callback_param: Any = None,
        callbacks: Any = None,
        monitor: bool = True,
        compression: str | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Submit a task.

        Every target is checked before anything is sent: a result that could not be delivered is not computed.

        Args:
            algorithm_id: The algorithm's id.
            features: A dict of equally long columns, a dict of scalars (one row), a list of records, a pandas
                DataFrame, an Arrow table, or the path of a Parquet or JSON file, which is streamed.
            version: The algorithm's version; the service's own choice when None.
            evaluate: Whether to evaluate the predictions, or what the algorithm needs to know for it.
            parameters: The algorithm's parameters, or the path of a JSON file with them.
            callback_url: Where the result goes: a URL or a list of URLs.
            callback_param: What goes with it: a dict for all URLs, or a list as long as theirs. A presigned
                POST needs `{"s3_fields": fields}`.
            callbacks: Instead of these two, a list of targets: `PresignedPut`, `PresignedPost`, URLs, and
                `(url, param)` pairs.
            monitor: Whether the service keeps watch over the algorithm's output.
            compression: Parquet's codec for a DataFrame or an Arrow table; snappy when None.
            priority: 0 to 9; the higher goes first. The service takes 5 when None.
            idempotency_key: Makes the call safe to repeat: the same key with the same content gives the same
                task again. The call is then repeated after a lost connection too.

        Returns:
            The task; `wait` for it, or let the targets tell.

        Raises:
            TargetError: A result could not go to a target; nothing was sent.
            FeaturesError: The features are no table, or an empty one; nothing was sent.
            EncodingError: The parameters are no JSON; nothing was sent.
            NotFoundError: There is no such algorithm or version.
            ConflictError: The idempotency key was used for something else.
            ServiceError: The service didn't accept the task.
        """
        asked = Secret((callback_url, callback_param, callbacks))
        # Signed URLs and form fields have no place in a traceback with locals.
        del callback_url, callback_param, callbacks
        options = {
            "version": version,
            "evaluate": evaluate,
            "monitor": monitor,
            "compression": compression,
            "priority": priority,
        }
        return self._submit(algorithm_id, "predict", features, parameters, asked, options, idempotency_key)

    @public
    def train_algorithm(
        self,
        algorithm_id: str,
        features: Any,
        *,
        version: str | None = None,
        parameters: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        export_new_version: bool | None = None,
        callback_url: Any = None,
        callback_param: Any = None,
        callbacks: Any = None,
        monitor: bool | None = None,
        compression: str | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Submit a training.

        Args:
            algorithm_id: The algorithm's id.
            features: What to train with; the same forms as `run_algorithm` takes.
            version: The version to begin with; the service's own choice when None.
            parameters: The algorithm's parameters, or the path of a JSON file with them.
            export_new_version: Whether a new version is to come of it; the service's own choice when None.
            callback_url: Where the outcome goes; this and the other options are those of `run_algorithm`.
            callback_param: What goes with it.
            callbacks: Instead of these two, a list of targets.
            monitor: Whether the service keeps watch over the algorithm's output.
            compression: Parquet's codec for a DataFrame or an Arrow table.
            priority: 0 to 9; the higher goes first.
            idempotency_key: Makes the call safe to repeat.

        Raises:
            InvalidRequestError: The algorithm can't be trained.
            CallbackSDKError: As `run_algorithm` does.
        """
        asked = Secret((callback_url, callback_param, callbacks))
        del callback_url, callback_param, callbacks
        options = {
            "version": version,
            "monitor": monitor,
            "compression": compression,
            "priority": priority,
            "export_new_version": export_new_version,
        }
        return self._submit(algorithm_id, "fit", features, parameters, asked, options, idempotency_key)

    @public
    def run_algorithm_batch(
        self,
        algorithm_id: str,
        items: Iterable[Any],
        *,
        version: str | None = None,
        evaluate: bool | Mapping[str, Any] = True,
        parameters: Mapping[str, Any] | None = None,
        callback_url: Any = None,
        callback_param: Any = None,
        callbacks: Any = None,
        monitor: bool = True,
        compression: str | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
        progress: bool = True,
    ) -> list[Task]:
        """Submit many tasks, in requests of at most 1,000, each of which is accepted as a whole or not at all.

        Items are taken as they are needed. Each request is repeated after a lost connection, as no second tasks
        can come of it. Targets in a list are checked before anything is sent, those from an iterator before their
        request is. When something fails after tasks were accepted, whatever it is, the error's `accepted` has the
        ids of these, in order.

        Args:
            algorithm_id: The algorithm's id.
            items: Features in the forms that `run_algorithm` takes, or a `BatchItem` with options of its own. The
                same object several times is sent once in a request.
            version: For items that say nothing, as all that follows: the algorithm's version.
            evaluate: Whether to evaluate the predictions, or what the algorithm needs to know for it.
            parameters: The algorithm's parameters.
            callback_url: Where results go; this and the other two are those of `run_algorithm`.
            callback_param: What goes with it.
            callbacks: Instead of these two, a list of targets.
            monitor: Whether the service keeps watch over the algorithm's output.
            compression: Parquet's codec for DataFrames and Arrow tables.
            priority: 0 to 9; the higher goes first.
            idempotency_key: Makes the call safe to repeat: with the same key and items it gives the tasks that were
                accepted already again, and the rest anew. The error's hint names the key when none was given.
            progress: Whether to show a bar in a terminal and in a notebook, when tqdm is installed.

        Returns:
            The tasks, in the order of the items.

        Raises:
            CallbackSDKError: As `run_algorithm` does; the text names the item.
        """
        asked = Secret((callback_url, callback_param, callbacks))
        del callback_url, callback_param, callbacks
        batch = Batch(
            items,
            Options(
                targets=self._targets(asked),
                parameters=parameters,
                version=version,
                evaluate=evaluate,
                monitor=monitor,
                priority=priority,
            ),
            compression=compression,
            key=idempotency_key,
            targets_of=self._item_targets,
        )
        path = f"/algorithms/{segment(algorithm_id)}/predict/batch"
        try:
            with (
                ProgressBar(f"Submitting to {algorithm_id}", wanted=progress) as bar,
                tracing.span("submit", "client", algorithm=algorithm_id),
            ):
                batch.send(self._connection, path, bar)
        except NotFoundError as error:
            self._suggest(error, algorithm_id)
            raise
        return HTMLList(
            self._task(TaskSnapshot(job_id=job_id, algorithm=algorithm_id, kind="predict")) for job_id in batch.accepted
        )

    def _submit(
        self,
        algorithm_id: str,
        what: str,
        features: Any,
        parameters: Mapping[str, Any] | str | os.PathLike[str] | None,
        asked: Secret[tuple[Any, Any, Any]],
        options: dict[str, Any],
        idempotency_key: str | None,
    ) -> Task:
        path = f"/algorithms/{segment(algorithm_id)}/{what}"
        key = checked_key(idempotency_key)
        targets = self._targets(asked)
        fields = form_fields(targets, **options)
        files = [] if parameters is None else [parameters_file(parameters)]
        with prepared(features, compression=options["compression"]) as file:
            body, content_type = encode_form(fields, [file, *files])
            try:
                with tracing.span("submit", "client", algorithm=algorithm_id), naming_key(key, lambda: accepted(key)):
                    answer = self._connection.request(
                        "POST",
                        path,
                        body=joined(body),
                        content_type=content_type,
                        hidden=credentials(targets),
                        key=key,
                        # Another service than ours may not know such keys. Who gives one says that this one does.
                        repeatable=idempotency_key is not None,
                    )
            except NotFoundError as error:
                self._suggest(error, algorithm_id)
                raise
            except ServiceError as error:
                if may_be_accepted(error):
                    error.hint = f"{error.hint} {accepted(key)}"
                    error.idempotency_key = key
                raise
        return self._task(parse_response("a task", TaskSnapshot.from_dict, answer.data))

    def _item_targets(self, item: BatchItem) -> tuple[Callback, ...]:
        return self._checked(paired(Secret(_listed(item.callbacks.reveal()))))

    def _targets(self, asked: Secret[tuple[Any, Any, Any]]) -> tuple[Callback, ...]:
        given = [value is not None for value in asked.reveal()]
        if given[2] and (given[0] or given[1]):
            raise CallbackParamError(
                "callbacks= is given together with callback_url= or callback_param=.",
                hint="Give each target once: in callbacks, as (url, param) where it has a parameter.",
            )
        if asked.reveal()[1] and not given[0] and self._callback_url.reveal() is None:
            raise CallbackParamError("callback_param= is given without callback_url=.", hint="Give the URL too.")
        if given[2]:
            return self._checked(paired(Secret(_listed(asked.reveal()[2]))))
        urls = Secret(asked.reveal()[0]) if given[0] else self._callback_url
        return self._checked(paired(urls, Secret(asked.reveal()[1])))

    def _checked(self, targets: tuple[Callback, ...]) -> tuple[Callback, ...]:
        for target in targets:
            check_callback(target, self._settings)
        return targets


def _listed(targets: Any) -> Any:
    return list(targets) if isinstance(targets, Iterable) and not isinstance(targets, (str, Mapping)) else [targets]
