"""TaskSubmitter: the methods of the client that submit tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from callback_sdk import tracing
from callback_sdk.client.api import ServiceAPI, quote_segment
from callback_sdk.client.batch import Batch, BatchItem, Options
from callback_sdk.client.callbacks import CallbackResolver
from callback_sdk.client.connection import ServiceConnection
from callback_sdk.client.detached import SharedByCopies
from callback_sdk.client.states import TaskSnapshot
from callback_sdk.client.submission import TaskSubmission
from callback_sdk.client.tasks import Task
from callback_sdk.parsing import Duration
from callback_sdk.progress import ProgressBar
from callback_sdk.redaction import Secret, hides_tracebacks
from callback_sdk.text.html import HTMLList
from callback_sdk.types import (
    CallbackParams,
    Callbacks,
    CallbackTarget,
    CallbackURLs,
    Evaluate,
    FeaturesInput,
    OutputTargets,
    Parameters,
    TaskKind,
)


class TaskSubmitter(SharedByCopies):
    """Submits tasks, each alone or in batches; see `Client`.

    Args:
        connection: Connection to the service.
        callbacks: Resolves the targets that a call names.
    """

    def __init__(self, connection: ServiceConnection, callbacks: CallbackResolver) -> None:
        self._connection = connection
        self._api = ServiceAPI(connection)
        self._callbacks = callbacks

    @hides_tracebacks
    def run_algorithm(
        self,
        algorithm_id: str,
        features: FeaturesInput | None = None,
        parameters: Parameters | None = None,
        *,
        version: str | None = None,
        evaluate: Evaluate = True,
        callback_url: CallbackURLs | None = None,
        callback_param: CallbackParams | None = None,
        callbacks: Callbacks | None = None,
        outputs: OutputTargets | None = None,
        monitor: bool = True,
        compression: str | None = None,
        priority: int | None = None,
        expires: Duration | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Submit a task.

        Every target is checked before anything is sent: a result that could not be delivered is not computed.

        Args:
            algorithm_id: The algorithm's id.
            features: A dict of equally long columns, a dict of scalars (one row), a list of records, a pandas
                DataFrame, an Arrow table, or the path of a Parquet or JSON file, which is streamed. None if the
                algorithm takes only parameters.
            parameters: The algorithm's parameters, or the path of a JSON file with them.
            version: The algorithm's version; the service's default when None.
            evaluate: Whether to evaluate the predictions, or a dict with the options of each evaluation.
            callback_url: Target of the result: a URL or a list of URLs.
            callback_param: Its parameter: a dict for all URLs, or a list as long as theirs. A presigned POST needs
                `{"s3_fields": fields}`.
            callbacks: Instead of these two, a list of targets: `PresignedPut`, `PresignedPost`, URLs, and
                `(url, param)` pairs.
            outputs: Targets of single output files, by name. All files go to a target that takes any number of objects,
                such as a `PresignedPrefix` in `callbacks`, besides those with a target of their own. A result is
                delivered when the deliveries of its output files have ended.
            monitor: Whether to run the algorithm's monitors.
            compression: Parquet codec for a DataFrame or an Arrow table; snappy when None.
            priority: 0 to 9; higher runs first. The service's default is 5.
            expires: Time in which the task must be started, a `timedelta` or seconds. Otherwise it fails without being
                computed, with the error code `"expired"`. So does a task all of whose targets have expired.
            idempotency_key: Makes the call safe to repeat: the same key with the same content returns the same
                task. The call is then retried after a lost connection too.

        Returns:
            The task. `wait` for it, or rely on the callbacks.

        Raises:
            TargetError: A result can't be delivered to a target; nothing was sent.
            FeaturesError: The features are not a table, or an empty one; nothing was sent.
            ParametersError: The parameters are neither a dict nor the path of a JSON file; nothing was sent.
            EncodingError: The parameters can't be encoded as JSON; nothing was sent.
            NotFoundError: The algorithm or the version doesn't exist.
            ConflictError: The idempotency key was used with other content.
            ServiceError: The service didn't accept the task.
        """
        given = Secret((callback_url, callback_param, callbacks, outputs))
        # Wrapped at once, so that no traceback with local variables shows signed URLs or form fields.
        del callback_url, callback_param, callbacks, outputs
        options = {
            "version": version,
            "evaluate": evaluate,
            "monitor": monitor,
            "compression": compression,
            "priority": priority,
            "expires": expires,
        }
        return self._submit(algorithm_id, "predict", features, parameters, given, options, idempotency_key)

    @hides_tracebacks
    def train_algorithm(
        self,
        algorithm_id: str,
        features: FeaturesInput,
        parameters: Parameters | None = None,
        *,
        version: str | None = None,
        export_new_version: bool | None = None,
        callback_url: CallbackURLs | None = None,
        callback_param: CallbackParams | None = None,
        callbacks: Callbacks | None = None,
        outputs: OutputTargets | None = None,
        monitor: bool | None = None,
        compression: str | None = None,
        priority: int | None = None,
        expires: Duration | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Submit a training.

        Args:
            algorithm_id: The algorithm's id.
            features: Training data, in the forms that `run_algorithm` takes.
            parameters: The algorithm's parameters, or the path of a JSON file with them.
            version: The version to start from; the service's default when None.
            export_new_version: Whether to save the model as a new version; the service's default when None.
            callback_url: Target of the outcome; this and the other options are those of `run_algorithm`.
            callback_param: Its parameter.
            callbacks: Instead of these two, a list of targets.
            outputs: Targets of single output files, by name.
            monitor: Whether to run the algorithm's monitors.
            compression: Parquet codec for a DataFrame or an Arrow table.
            priority: 0 to 9; higher runs first.
            expires: Time in which the task must be started.
            idempotency_key: Makes the call safe to repeat.

        Raises:
            InvalidRequestError: The algorithm can't be trained.
            CallbackSDKError: As in `run_algorithm`.
        """
        given = Secret((callback_url, callback_param, callbacks, outputs))
        del callback_url, callback_param, callbacks, outputs
        options = {
            "version": version,
            "monitor": monitor,
            "compression": compression,
            "priority": priority,
            "expires": expires,
            "export_new_version": export_new_version,
        }
        return self._submit(algorithm_id, "fit", features, parameters, given, options, idempotency_key)

    @hides_tracebacks
    def run_algorithm_batch(
        self,
        algorithm_id: str,
        items: Iterable[BatchItem | FeaturesInput],
        *,
        version: str | None = None,
        evaluate: Evaluate = True,
        parameters: Mapping[str, Any] | None = None,
        callback_url: CallbackURLs | None = None,
        callback_param: CallbackParams | None = None,
        callbacks: Callbacks | None = None,
        done: CallbackTarget | None = None,
        monitor: bool = True,
        compression: str | None = None,
        priority: int | None = None,
        expires: Duration | None = None,
        idempotency_key: str | None = None,
        progress: bool = True,
    ) -> list[Task]:
        """Submit many tasks, and return them in the order of the items.

        A request has at most 1,000 tasks, is accepted as a whole or not at all, and is retried after a lost connection.
        Items are read as needed. Targets in a list are checked before anything is sent, those from an iterator before
        their request is. An error after tasks were accepted has their ids in `accepted_job_ids`, in order.

        Args:
            algorithm_id: The algorithm's id.
            items: Features in the forms that `run_algorithm` accepts, or `BatchItem` objects with options per task. An
                object that occurs several times is sent once per request.
            version: The algorithm's version. This and all following options are defaults of items without the option.
            evaluate: Whether to evaluate the predictions, or a dict with the options of each evaluation.
            parameters: The algorithm's parameters.
            callback_url: Targets of the results; this and the next two are those of `run_algorithm`.
            callback_param: Their parameter.
            callbacks: Instead of these two, a list of targets.
            done: A target that is sent one document when all tasks have ended and all their documents are delivered or
                dead. Its results are the numbers of tasks and deliveries by outcome.
            monitor: Whether to run the algorithm's monitors.
            compression: Parquet codec for DataFrames and Arrow tables.
            priority: 0 to 9; higher runs first.
            expires: Time in which the task must be started.
            idempotency_key: Makes the call safe to repeat: with the same key and items it returns the tasks that were
                already accepted, and submits the rest. If none was given, the error's hint names one.
            progress: Whether to show a progress bar in a terminal and in a notebook, if tqdm is installed.

        Raises:
            CallbackSDKError: As in `run_algorithm`; the message names the item.
        """
        given, end = Secret((callback_url, callback_param, callbacks)), Secret(done)
        del callback_url, callback_param, callbacks, done
        batch = Batch(
            items,
            Options(
                targets=self._callbacks.resolve(given),
                parameters=parameters,
                version=version,
                evaluate=evaluate,
                monitor=monitor,
                priority=priority,
                expires=expires,
            ),
            compression=compression,
            key=idempotency_key,
            callbacks=self._callbacks,
            done=self._callbacks.resolve_done(end),
        )
        path = f"/algorithms/{quote_segment(algorithm_id)}/predict/batch"
        with (
            self._api.suggesting_names(algorithm_id),
            ProgressBar(f"Submitting to {algorithm_id}", wanted=progress) as bar,
            tracing.span("submit", "client", algorithm=algorithm_id),
        ):
            batch.send(self._connection, path, bar)
        return HTMLList(
            self._task(TaskSnapshot(job_id=job_id, algorithm=algorithm_id, kind="predict"))
            for job_id in batch.accepted_job_ids
        )

    def _submit(
        self,
        algorithm_id: str,
        action: TaskKind,
        features: FeaturesInput | None,
        parameters: Parameters | None,
        given: Secret[tuple[Any, Any, Any, Any]],
        options: dict[str, Any],
        idempotency_key: str | None,
    ) -> Task:
        targets = self._callbacks.resolve(Secret(given.reveal()[:3]))
        submission = TaskSubmission(
            algorithm_id=algorithm_id,
            action=action,
            features=features,
            parameters=parameters,
            targets=targets,
            outputs=self._callbacks.resolve_outputs(Secret(given.reveal()[3]), targets),
            options=options,
            idempotency_key=idempotency_key,
        )
        state = submission.send(self._api)
        for text in state.warnings:
            self._callbacks.warn(text)
        return self._task(state)

    def _task(self, state: TaskSnapshot) -> Task:
        return Task(self._api, state)
