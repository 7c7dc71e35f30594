"""What the client returns and what can be asked further: algorithms, their versions, tasks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from copy import deepcopy
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, NoReturn, cast

from attrs import define, field, fields

from callback_sdk.client.failures import Failures, public
from callback_sdk.client.progress import ProgressBar
from callback_sdk.client.states import Delivery, DeliverySnapshot, Progress, Result, TaskSnapshot, outcome
from callback_sdk.client.waiting import Waiting
from callback_sdk.errors import (
    ConfigurationError,
    ServiceError,
    TaskFailedError,
    TaskTimeoutError,
    sentence,
)
from callback_sdk.models import CANCELED, FINISHED, IN_PROGRESS, PENDING
from callback_sdk.parsing import total_seconds
from callback_sdk.receipt import Receipt
from callback_sdk.text.html import HTMLList, HTMLRepr, listed

if TYPE_CHECKING:
    from callback_sdk.client import Client


@define(frozen=True, kw_only=True)
class Version(HTMLRepr):
    """One version of an algorithm.

    Attributes:
        version: Its name, such as `"1.0.0"`.
        change_description: What is new in it.
        results: What it returns, in words.
        features_format: The features that it takes.
        output_format: The form of what it returns.
    """

    version: str
    change_description: Any = None
    results: Any = None
    features_format: Any = field(default=None, repr=False)
    output_format: Any = field(default=None, repr=False)

    def _facts(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "change": self.change_description,
            "results": self.results,
            "features": self.features_format,
            "output": self.output_format,
        }

    @classmethod
    def from_dict(cls, data: Any) -> Version:
        """Read the wire form, an object or the name alone; members that are not known are left out."""
        if isinstance(data, str):
            return cls(version=data)
        return cls(**{name: data[name] for name in cls.__annotations__ if name in data})


@define(frozen=True, kw_only=True)
class Algorithm(HTMLRepr):
    """One algorithm of the service.

    Attributes:
        id: What `run_algorithm` takes.
        name: What people call it.
        description: What it does.
        versions: Its versions, in the service's order.
        evaluations: The evaluations that it knows.
    """

    _client: Client = field(repr=False, eq=False)
    id: str
    name: str = ""
    description: str | None = None
    versions: tuple[Version, ...] = ()
    evaluations: tuple[Any, ...] = ()

    def _facts(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name if self.name != self.id else None,
            "description": self.description,
            "versions": ", ".join(version.version for version in self.versions) or None,
            "evaluations": ", ".join(map(str, self.evaluations)) or None,
        }

    @classmethod
    def from_dict(cls, client: Client, data: Mapping[str, Any]) -> Algorithm:
        """Read the wire form; members that are not known are left out."""
        return cls(
            client=client,
            id=data["id"],
            name=data.get("name") or data["id"],
            description=data.get("description"),
            versions=tuple(Version.from_dict(version) for version in data.get("versions") or ()),
            evaluations=tuple(data.get("evaluations") or ()),
        )

    def __reduce__(self) -> tuple[object, ...]:
        # Without the client, which holds a credential.
        facts = {field.name: getattr(self, field.name) for field in fields(Algorithm) if field.name != "_client"}
        versions = tuple(
            Version(**{field.name: getattr(version, field.name) for field in fields(Version)})
            for version in self.versions
        )
        return _detached_algorithm, ({**facts, "versions": versions},)

    def __copy__(self) -> Algorithm:
        return self

    def __deepcopy__(self, memo: object) -> Algorithm:
        return self

    def run(self, features: Any, **options: Any) -> Task:
        """Submit a task; the options are those of `Client.run_algorithm`."""
        return self._client.run_algorithm(self.id, features, **options)

    def train(self, features: Any, **options: Any) -> Task:
        """Submit a training; the options are those of `Client.train_algorithm`."""
        return self._client.train_algorithm(self.id, features, **options)

    def get_template(self, file_type: str = "input", version: str | None = None) -> BinaryIO:
        """Return an example; see `Client.get_template`."""
        return self._client.get_template(self.id, file_type, version)

    def get_graph(self, file_type: str | None = None, version: str | None = None) -> BinaryIO:
        """Return a picture; see `Client.get_graph`."""
        return self._client.get_graph(self.id, file_type, version)


class Task(HTMLRepr):
    """One submitted job.

    It shows the state that the service last told; `refresh` and `wait` bring a newer one. It comes from
    `Client.run_algorithm` and `Client.get_task_results`.
    """

    STATUS_PENDING: ClassVar[str] = PENDING
    STATUS_PROGRESS: ClassVar[str] = IN_PROGRESS
    STATUS_FINISHED: ClassVar[str] = FINISHED
    STATUS_CANCELED: ClassVar[str] = CANCELED

    def __init__(self, client: Client, state: TaskSnapshot) -> None:
        self._client = client
        self._state = state

    def __repr__(self) -> str:
        outcome = "" if self.success is None else f", success={self.success}"
        return f"Task({self.job_id!r}, status={self.status!r}{outcome})"

    def __reduce__(self) -> tuple[object, ...]:
        # Without the client, which holds a credential.
        return _detached_task, (type(self), self._state)

    def __copy__(self) -> Task:
        return type(self)(self._client, self._state)

    def __deepcopy__(self, memo: dict[int, Any]) -> Task:
        return type(self)(self._client, deepcopy(self._state, memo))

    def _facts(self) -> dict[str, Any]:
        return outcome(self._state)

    def _repr_html_(self) -> str:
        return "".join(filter(None, [super()._repr_html_(), listed(self.deliveries)]))

    def to_dict(self) -> dict[str, Any]:
        """Return the wire form: what JSON has of the task, its results included."""
        return self._state.to_dict()

    @property
    def _failures(self) -> Failures:
        return self._client._failures

    @property
    def job_id(self) -> str:
        """The task's id."""
        return self._state.job_id

    @property
    def status(self) -> str:
        """`"Pending"`, `"In Progress"`, `"Finished"` or `"Canceled"`."""
        return self._state.status

    @property
    def ended(self) -> bool:
        """Whether it runs no more: it is finished or cancelled."""
        return self._state.ended

    @property
    def delivering(self) -> bool:
        """Whether a delivery is still to be made."""
        return self._state.delivering

    @property
    def success(self) -> bool | None:
        """Whether there are results; None until the task has ended."""
        return self._state.success

    @property
    def error(self) -> str | None:
        """Why there are none."""
        return self._state.error

    @property
    def predictions(self) -> Any:
        """What the algorithm was run for; None until it has succeeded."""
        return self._state.result.predictions

    @property
    def evaluations(self) -> Any:
        """How good the predictions are; None when that was not asked for."""
        return self._state.result.evaluations

    @property
    def monitors(self) -> Any:
        """What the service watches the predictions by; may be None."""
        return self._state.result.monitors

    @property
    def callback_param(self) -> Any:
        """What was submitted with the targets, without credentials."""
        return self._state.callback_param

    @property
    def progress(self) -> Progress:
        """How far the algorithm is."""
        return self._state.progress

    @property
    def receipts(self) -> list[Receipt]:
        """Proof of the deliveries that were made."""
        return HTMLList(self._state.receipts)

    @property
    def deliveries(self) -> list[DeliverySnapshot]:
        """How each delivery stands, in the order of the targets."""
        return HTMLList(self._state.deliveries)

    @property
    def algorithm(self) -> str | None:
        """What it runs."""
        return self._state.algorithm

    @property
    def version(self) -> str | None:
        """The algorithm's version; None until the service has told."""
        return self._state.version

    @property
    def new_version(self) -> str | None:
        """The version of the algorithm that a training has made, for `run_algorithm(version=...)`; None for none."""
        return self._state.new_version

    @property
    def kind(self) -> str | None:
        """`"predict"` or `"fit"`."""
        return self._state.kind

    @property
    def priority(self) -> int | None:
        """0 to 9; the higher goes first."""
        return self._state.priority

    @property
    def created_at(self) -> datetime | None:
        """When the service accepted it."""
        return self._state.created_at

    @property
    def started_at(self) -> datetime | None:
        """When a worker began with it."""
        return self._state.started_at

    @property
    def finished_at(self) -> datetime | None:
        """When it ended."""
        return self._state.finished_at

    @public
    def refresh(self) -> Task:
        """Ask the service for the task's state, and return the task.

        Raises:
            ServiceError: The service didn't tell.
        """
        self._state = self._client._task_state("GET", self.job_id)
        return self

    def update(self) -> Task:
        """Do what `refresh` does, by its older name."""
        return self.refresh()

    @public
    def cancel(self) -> Task:
        """Stop the task, also while it runs, and return it.

        Raises:
            ServiceError: The service didn't accept that.
        """
        self._state = self._client._task_state("DELETE", self.job_id)
        return self

    @public
    def get_logs(self) -> str:
        """Return what the algorithm printed and logged; see `Client.get_logs`.

        Raises:
            ServiceError: The service didn't tell.
        """
        return self._client.get_logs(self.job_id)

    @public
    def redeliver(self) -> list[Delivery]:
        """Begin every dead delivery anew, and return these.

        Raises:
            ConflictError: The task has not ended.
            ServiceError: The service didn't accept that.
        """
        dead = [one for one in self._client._deliveries(self.job_id) if one.state == "dead"]
        return HTMLList(self._client._redeliver(self.job_id, one.delivery_id) for one in dead)

    @public
    def result(self) -> Result:
        """Return what the algorithm returned.

        Raises:
            TaskFailedError: The task failed or was cancelled, or has not ended yet.
        """
        if self.success:
            return self._state.result
        if not self._state.ended:
            message, hint = "has not ended yet.", "Wait for it: task.wait()."
        elif self.status == CANCELED:
            message, hint = "was cancelled.", "Submit it again if it is wanted."
        else:
            message = f"failed: {sentence(self.error or 'no reason given')}"
            hint = "Correct what it names, and submit it again."
        raise TaskFailedError(f"The task {self.job_id} {message}", hint=hint, job_id=self.job_id, reason=self.error)

    @public
    def wait(
        self,
        timeout: timedelta = timedelta(minutes=30),
        *,
        poll: timedelta = timedelta(seconds=2),
        grace: timedelta = timedelta(seconds=10),
        progress: bool = True,
    ) -> Task:
        """Wait until the task has ended, and return it; `success` tells how.

        Deliveries begin when the result is there, and the first try takes a moment. So that `receipts` are
        complete in the common case, the waiting goes on until no delivery is pending, but not for longer than
        the grace: a target that is down is tried for hours, and nobody should wait for it here.

        A service that is away for a while is waited for; so is a proxy's error. Ctrl-C ends the waiting only.

        Args:
            timeout: The longest wait for the task's end.
            poll: The longest pause between two questions; the first ones come quicker.
            grace: The longest wait for deliveries after the task's end.
            progress: Whether to show a bar in a terminal and in a notebook, when tqdm is installed.

        Raises:
            TaskTimeoutError: It has not ended in this time. It goes on.
            ServiceError: The service doesn't know the task, or refuses to tell.
        """
        seconds, pause, for_deliveries = (
            total_seconds("timeout", timeout),
            total_seconds("poll", poll),
            total_seconds("grace", grace, zero=True),
        )
        end = time.monotonic() + seconds
        try:
            with ProgressBar(f"Task {self.job_id}", wanted=progress) as bar:

                def show(state: TaskSnapshot, trouble: ServiceError | None) -> None:
                    bar.show(state.progress.fraction, _shown(state, trouble))

                self._wait_for_end(Waiting(end=end, longest_pause=pause, show=show))
                end = min(end, time.monotonic() + for_deliveries)
                if self.delivering and time.monotonic() < end:
                    self._wait_for_deliveries(Waiting(end=end, longest_pause=pause, show=show))
            return self
        except KeyboardInterrupt:
            pass
        raise KeyboardInterrupt(f"The task goes on. {self._way_back()}")

    def _wait_for_end(self, waiting: Waiting) -> None:
        _, trouble = waiting.until(lambda state: state.ended, self._ask, self._state)
        if not self.ended:
            raise TaskTimeoutError(
                f"The task {self.job_id} has not ended in time; it is {self.status} and goes on.",
                hint=self._way_back(),
                job_id=self.job_id,
            ) from trouble

    def _wait_for_deliveries(self, waiting: Waiting) -> None:
        waiting.until(lambda state: not state.delivering, self._ask, self._state)

    def _ask(self, deadline: float) -> TaskSnapshot:
        self._state = self._client._task_state("GET", self.job_id, deadline=deadline)
        return self._state

    def _way_back(self) -> str:
        return f'Come back to it with client.get_task_results("{self.job_id}").wait().'


class _NoClient:
    """What an object has in place of its client after it came from another process.

    Args:
        message: What can't be done.
        hint: What to do instead.
    """

    def __init__(self, message: str, hint: str) -> None:
        self._error = (message, hint)

    def __getattr__(self, name: str) -> NoReturn:
        message, hint = self._error
        raise ConfigurationError(message, hint=hint)


def _detached_task(kind: type[Task], state: TaskSnapshot) -> Task:
    client = _NoClient(
        f"The task {state.job_id} was pickled, and its client was not, as it holds a credential.",
        f'Get it again from a client of this process: client.get_task_results("{state.job_id}").',
    )
    return kind(cast("Client", client), state)


def _detached_algorithm(facts: dict[str, Any]) -> Algorithm:
    client = _NoClient(
        f"The algorithm {facts['id']} was pickled, and its client was not, as it holds a credential.",
        f'Get it again from a client of this process: client.get_algorithm("{facts["id"]}").',
    )
    return Algorithm(client=cast("Client", client), **facts)


def _shown(state: TaskSnapshot, trouble: ServiceError | None) -> str:
    if trouble is not None:
        return "the service doesn't answer"
    if state.ended:
        return "delivering" if state.delivering else state.status
    return state.progress.message or state.status
