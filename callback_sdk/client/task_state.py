"""The state of a submitted task, as of the last response: its attributes and its result."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from callback_sdk.client.states import DeliverySnapshot, Result, TaskSnapshot, html_fields
from callback_sdk.errors import AuthenticationError, TaskExpiredError, TaskFailedError
from callback_sdk.models import CANCELED, EXPIRED, FINISHED, IN_PROGRESS, PENDING, Progress
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import hides_tracebacks
from callback_sdk.text.descriptions import sentence
from callback_sdk.text.html import HTMLList, HTMLRepr
from callback_sdk.types import ErrorCode, TaskKind, TaskOutcome, TaskStatus


class TaskState(HTMLRepr):
    """Base class of `Task`: what is known of a task. It makes no requests.

    Args:
        state: The state of the last response.
    """

    STATUS_PENDING: ClassVar[str] = PENDING
    STATUS_PROGRESS: ClassVar[str] = IN_PROGRESS
    STATUS_FINISHED: ClassVar[str] = FINISHED
    STATUS_CANCELED: ClassVar[str] = CANCELED

    def __init__(self, state: TaskSnapshot) -> None:
        self._state = state

    def _html_fields(self) -> dict[str, Any]:
        return html_fields(self._state)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, with the results."""
        return self._state.to_dict()

    @property
    def job_id(self) -> str:
        """The task's id."""
        return self._state.job_id

    @property
    def status(self) -> TaskStatus:
        """`"Pending"`, `"In Progress"`, `"Finished"` or `"Canceled"`."""
        return self._state.status

    @property
    def ended(self) -> bool:
        """Whether the task is finished or canceled."""
        return self._state.ended

    @property
    def delivering(self) -> bool:
        """Whether a delivery is pending."""
        return self._state.delivering

    @property
    def success(self) -> bool | None:
        """Whether the task succeeded; None until it has ended."""
        return self._state.success

    @property
    def error(self) -> str | None:
        """Error message of a failed or canceled task; None otherwise."""
        return self._state.error

    @property
    def error_code(self) -> ErrorCode | None:
        """Kind of the error: `"expired"` if the task was not started in time; None otherwise."""
        return self._state.error_code

    @property
    def outcome(self) -> TaskOutcome | None:
        """How the task ended: `"Succeeded"`, `"Failed"`, `"Expired"` or `"Canceled"`; None until then."""
        return self._state.outcome

    @property
    def predictions(self) -> Any:
        """The algorithm's predictions; None until it has succeeded."""
        return self._state.result.predictions

    @property
    def evaluations(self) -> Any:
        """Evaluations of the predictions; None if none were requested."""
        return self._state.result.evaluations

    @property
    def monitors(self) -> Any:
        """Results of the monitors; may be None."""
        return self._state.result.monitors

    @property
    def callback_param(self) -> Any:
        """Parameters of the targets, without credentials."""
        return self._state.callback_param

    @property
    def progress(self) -> Progress:
        """Progress of the algorithm."""
        return self._state.progress

    @property
    def receipts(self) -> list[Receipt]:
        """Receipts of the completed deliveries."""
        return HTMLList(self._state.receipts)

    @property
    def deliveries(self) -> list[DeliverySnapshot]:
        """Status of each delivery, in the order of the targets."""
        return HTMLList(self._state.deliveries)

    @property
    def algorithm(self) -> str | None:
        """Name of the algorithm."""
        return self._state.algorithm

    @property
    def version(self) -> str | None:
        """The algorithm's version; None until it is known."""
        return self._state.version

    @property
    def new_version(self) -> str | None:
        """The version that a training has created, for `run_algorithm(version=...)`; None if there is none."""
        return self._state.new_version

    @property
    def kind(self) -> TaskKind | None:
        """`"predict"` or `"fit"`."""
        return self._state.kind

    @property
    def priority(self) -> int | None:
        """0 to 9; higher runs first."""
        return self._state.priority

    @property
    def owner(self) -> str | None:
        """Name of the user who submitted the task."""
        return self._state.owner

    @property
    def created_at(self) -> datetime | None:
        """Time at which the service accepted the task, in UTC."""
        return self._state.created_at

    @property
    def started_at(self) -> datetime | None:
        """Time at which a worker started the task, in UTC; None before that."""
        return self._state.started_at

    @property
    def finished_at(self) -> datetime | None:
        """Time at which the task ended, in UTC; None before that."""
        return self._state.finished_at

    @property
    def expires_at(self) -> datetime | None:
        """Time from which a queued task is not started any more, in UTC; None for never.

        It is the end of `expires`, or the expiry of the last target.
        """
        return self._state.expires_at

    @property
    def warnings(self) -> tuple[str, ...]:
        """What may go wrong with the task's targets, as of its submission: they may expire before it has ended."""
        return self._state.warnings

    @hides_tracebacks
    def result(self) -> Result:
        """Return the results.

        Raises:
            TaskExpiredError: The task was not started in time.
            TaskFailedError: The task failed for another reason or was canceled, or has not ended yet.
            AuthenticationError: It is another user's task, whose results an operator may not read.
        """
        if self.success and self._state.results_hidden:
            raise AuthenticationError(
                f"The results of the task {self.job_id} belong to {self.owner}, and this user may not read them.",
                hint="An operator with access to the service's machine can change that: callback-sdk users set-role "
                "NAME operator --may-read.",
                job_id=self.job_id,
            )
        if self.success:
            return self._state.result
        kind = TaskFailedError
        if not self._state.ended:
            message, hint = "has not ended yet.", "Wait for its end: task.wait()."
        elif self.status == CANCELED:
            message, hint = "was canceled.", "Submit the task again if you need its results."
        elif self.outcome == EXPIRED:
            kind, message = TaskExpiredError, f"has expired: {sentence(self.error or 'no reason given')}"
            hint = "Submit it again, with a longer `expires` and targets that are valid for longer, or at another time."
        else:
            message = f"failed: {sentence(self.error or 'no reason given')}"
            hint = "Fix the cause and submit the task again."
        raise kind(f"The task {self.job_id} {message}", hint=hint, job_id=self.job_id, reason=self.error)
