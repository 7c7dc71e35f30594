"""Submission of one task or training: the form, the request, and the hints of its errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import define, field

from callback_sdk import tracing
from callback_sdk.client.api import ServiceAPI, quote_segment
from callback_sdk.client.features import parameters_file, prepare_features
from callback_sdk.client.form import checked_key, credentials, form_fields, join_parts
from callback_sdk.client.interrupts import naming_key
from callback_sdk.client.responses import acceptance_hints, may_be_accepted, parse_response
from callback_sdk.client.states import TaskSnapshot
from callback_sdk.documents.body import Body
from callback_sdk.documents.multipart import FormFile, encode_form
from callback_sdk.errors import ServiceError
from callback_sdk.redaction import Secret
from callback_sdk.targets.callbacks import Callback
from callback_sdk.types import FeaturesInput, Parameters, TaskKind


@define(frozen=True, kw_only=True)
class TaskSubmission:
    """One task to submit; see `Client.run_algorithm`.

    Attributes:
        algorithm_id: The algorithm's id.
        action: `"predict"` or `"fit"`, the last segment of the path.
        features: The features, in one of the accepted forms; None for none.
        parameters: The parameters, or the path of a file with them.
        targets: Checked targets of the result.
        outputs: Checked targets of single output files, by name.
        options: The other fields of the form.
        idempotency_key: The caller's key; None for a new one.
    """

    algorithm_id: str
    action: TaskKind
    features: FeaturesInput | None = field(repr=False)
    parameters: Parameters | None = field(repr=False)
    targets: Sequence[Callback]
    outputs: Mapping[str, Callback]
    options: Mapping[str, Any]
    idempotency_key: str | None

    def send(self, api: ServiceAPI) -> TaskSnapshot:
        """Submit the task.

        Raises:
            CallbackSDKError: The task is invalid, or the service didn't accept it.
        """
        path = f"/algorithms/{quote_segment(self.algorithm_id)}/{self.action}"
        key = checked_key(self.idempotency_key)
        fields = form_fields(self.targets, outputs=self.outputs, **self.options)
        with self._files() as files:
            body, content_type = encode_form(fields, files)
            with api.suggesting_names(self.algorithm_id):
                return self._post(api, path, join_parts(body), content_type, key)

    @contextmanager
    def _files(self) -> Iterator[list[FormFile]]:
        files = [] if self.parameters is None else [parameters_file(self.parameters)]
        if self.features is None:
            yield files
            return
        with prepare_features(self.features, compression=self.options["compression"]) as file:
            yield [file, *files]

    def _post(self, api: ServiceAPI, path: str, body: Body, content_type: str, key: str) -> TaskSnapshot:
        try:
            with (
                tracing.span("submit", "client", algorithm=self.algorithm_id),
                naming_key(key, lambda: acceptance_hints(key)),
            ):
                answer = api.connection.request(
                    "POST",
                    path,
                    body=body,
                    content_type=content_type,
                    hidden=self._hidden,
                    key=key,
                    # Other implementations of the API may not support idempotency keys. A caller that gives a key
                    # declares that the service does.
                    repeatable=self.idempotency_key is not None,
                )
        except ServiceError as error:
            if may_be_accepted(error):
                error.add_hint(*acceptance_hints(key))
                error.idempotency_key = key
            raise
        return parse_response("a task", TaskSnapshot.from_dict, answer.data)

    @property
    def _hidden(self) -> Secret[tuple[str, ...]]:
        return credentials((*self.targets, *self.outputs.values()))
