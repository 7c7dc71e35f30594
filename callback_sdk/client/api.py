"""The service's REST API: one method per call, which returns plain data."""

from __future__ import annotations

import contextlib
import difflib
import itertools
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from callback_sdk.client.connection import JSON, ServiceConnection
from callback_sdk.client.form import credentials, encode_value, whole_number
from callback_sdk.client.responses import parse_response, unexpected_response
from callback_sdk.client.server_events import ServerEvent
from callback_sdk.client.states import Delivery, OutputPart, OutputSnapshot, TaskSnapshot, TaskSummary
from callback_sdk.documents.body import Body
from callback_sdk.documents.decoding import has_lone_surrogate
from callback_sdk.errors import InvalidRequestError, NotFoundError, ServiceError
from callback_sdk.models import CANCELED, FINISHED, IN_PROGRESS, PENDING
from callback_sdk.redaction import Secret
from callback_sdk.targets.callbacks import Callback
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.html import HTMLList
from callback_sdk.types import TaskFilter

_STATUSES = (PENDING, IN_PROGRESS, FINISHED, CANCELED, "succeeded", "failed", "expired")

_PAGE = 200
"""Maximum number of tasks in a page."""

_ANY_FILE = f"{JSON}, */*;q=0.5"


class ServiceAPI:
    """The calls that a client and its tasks and algorithms make.

    Args:
        connection: Connection to the service.
    """

    def __init__(self, connection: ServiceConnection) -> None:
        self.connection = connection

    def task(self, job_id: str, *, deadline: float | None = None, wait: float = 0.0) -> TaskSnapshot:
        """Return a task. With a deadline of the monotonic clock, make a single attempt that ends by then.

        Args:
            job_id: The task.
            deadline: The deadline.
            wait: Seconds for which the service may wait for the end of the task, or of its deliveries.
        """
        return self._task("GET", job_id, deadline=deadline, wait=wait)

    def events(
        self, job_id: str, last_event_id: str | None, *, output: bool, deadline: float
    ) -> Generator[ServerEvent, None, None]:
        """Yield the events of a task, with those of its output or without, until the stream ends.

        See `ServiceConnection.events`.
        """
        path = _with_query(f"/algorithms/tasks/{quote_segment(job_id)}/events", {"output": None if output else "false"})
        return self.connection.events(path, last_event_id=last_event_id, deadline=deadline)

    def cancel(self, job_id: str) -> TaskSnapshot:
        """Cancel a task and return it."""
        return self._task("DELETE", job_id)

    def tasks(
        self,
        status: TaskFilter | None,
        algorithm_id: str | None,
        limit: int | None,
        *,
        id_prefix: str | None = None,
        user: str | None = None,
    ) -> Iterator[TaskSummary]:
        """Iterate over the tasks that the user may see, newest first; the first page is requested now.

        Raises:
            InvalidRequestError: The status doesn't exist, or the limit is not a positive number.
        """
        number = None if limit is None else whole_number(limit)
        if limit is not None and (number is None or number < 1):
            raise InvalidRequestError(f"limit is {limit!r:.100}.", hint="Give a whole number above 0, or None.")
        for name, value in {"algorithm_id": algorithm_id, "id_prefix": id_prefix, "user": user}.items():
            if value is not None and not isinstance(value, str):
                raise InvalidRequestError(f"{name} is {short_repr(value)}.", hint="Give a string, or None.")
        if status is not None and status not in _STATUSES:
            raise InvalidRequestError(f"status is {status!r:.100}.", hint=f"Give one of {', '.join(_STATUSES)}.")
        requested = {
            "status": status,
            "algorithm": algorithm_id,
            "id_prefix": id_prefix,
            "user": user,
            "limit": min(number or _PAGE, _PAGE),
        }
        return itertools.islice(self._pages(requested, self._page(requested)), number)

    def logs(self, job_id: str) -> str:
        """Return the output of a task's last run."""
        path = f"/algorithms/tasks/{quote_segment(job_id)}/logs"
        data: bytes = self.connection.request("GET", path, accept="text/plain").data
        return data.decode(errors="replace")

    def new_logs(self, job_id: str, cursor: str | None, *, deadline: float) -> OutputPart:
        """Return the output of a task after a cursor, in a single attempt that ends by a deadline."""
        path = _with_query(f"/algorithms/tasks/{quote_segment(job_id)}/logs/new", {"cursor": cursor})
        return parse_response(
            "output of a task", OutputPart.from_dict, self.connection.request("GET", path, deadline=deadline).data
        )

    def output(self, job_id: str, file: OutputSnapshot, start: int) -> Iterator[bytes]:
        """Yield the content of an output file from an offset on."""
        name = "/".join(map(quote_segment, file.name.split("/")))
        path = f"/algorithms/tasks/{quote_segment(job_id)}/outputs/{name}"
        # With If-Range, another content than the one that has begun is sent from its start, and its digest is wrong.
        conditions = {"Range": f"bytes={start}-", "If-Range": f'"{file.sha256}"'} if start else {}
        stream = self.connection.stream(path, conditions=conditions, max_bytes=file.size + 1)
        skip = start if stream.status == 200 else 0
        if not skip and start and not stream.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise unexpected_response("the requested range of an output file")
        for chunk in stream.chunks:
            # Of a proxy that ignores ranges, what is here already is discarded.
            if len(chunk) > skip:
                yield chunk[skip:]
            skip = max(0, skip - len(chunk))

    def deliveries(self, job_id: str) -> list[Delivery]:
        """Return the deliveries of a task, in the order of the targets."""
        data = self._list("a list of deliveries", f"/algorithms/tasks/{quote_segment(job_id)}/deliveries")
        return HTMLList(parse_response("a delivery", Delivery.from_dict, item) for item in data)

    def redeliver(self, job_id: str, delivery_id: str, target: Callback | None = None) -> Delivery:
        """Make a delivery due at once, to a new target if one is given, and return it."""
        hint = "Give the delivery_id of one of client.get_deliveries(job_id), a string."
        path = f"/algorithms/tasks/{quote_segment(job_id)}/deliveries/{quote_segment(delivery_id, hint)}/redeliver"
        sent: dict[str, Any] = {}
        if target is not None:
            body = Body(encode_value("target", Secret({"target": target.plain()})).reveal())
            sent = {"body": body, "content_type": JSON, "hidden": credentials([target])}
        # The call is idempotent, so it may be retried: a delivery that is due stays due.
        answer = self.connection.request("POST", path, repeatable=True, **sent)
        delivery = parse_response("a delivery", Delivery.from_dict, answer.data)
        _check_id("delivery", delivery_id, delivery.delivery_id)
        return delivery

    def algorithms(self) -> list[Any]:
        """Return the JSON of every algorithm."""
        return self._list("a list of algorithms", "/algorithms")

    def algorithm(self, algorithm_id: str) -> Any:
        """Return the JSON of one algorithm."""
        path = f"/algorithms/{quote_segment(algorithm_id)}"
        with self.suggesting_names(algorithm_id):
            return self.connection.request("GET", path).data

    def versions(self, algorithm_id: str) -> list[Any]:
        """Return the JSON of every version of an algorithm."""
        return self._list("a list of versions", f"/algorithms/{quote_segment(algorithm_id)}/versions")

    def version(self, algorithm_id: str, version: str) -> Any:
        """Return the JSON of one version of an algorithm."""
        return self.connection.request(
            "GET", f"/algorithms/{quote_segment(algorithm_id)}/versions/{quote_segment(version)}"
        ).data

    def template(self, algorithm_id: str, file_type: str, version: str | None) -> bytes:
        """Return an example of an algorithm's input, output or parameters."""
        return self._file(algorithm_id, "template", file_type, version, accept=_ANY_FILE)

    def graph(self, algorithm_id: str, file_type: str | None, version: str | None) -> bytes:
        """Return a PNG image of an algorithm's input or output."""
        return self._file(algorithm_id, "graph", file_type, version, accept="image/png")

    @contextlib.contextmanager
    def suggesting_names(self, algorithm_id: str) -> Iterator[None]:
        """Add similar names to the hint of a `NotFoundError`."""
        try:
            yield
        except NotFoundError as error:
            self._suggest(error, algorithm_id)
            raise

    def _suggest(self, error: NotFoundError, algorithm_id: str) -> None:
        try:
            data = self.connection.request("GET", "/algorithms", deadline=time.monotonic() + 2).data
            names = [algorithm["id"] for algorithm in data]
        except (ServiceError, KeyError, TypeError):
            return
        if any(f"'{name}'" in error.message for name in names):
            # The service itself has suggested names.
            error.replace_hint("")
            return
        similar = difflib.get_close_matches(algorithm_id, names, n=3)
        listed = ", ".join(repr(name) for name in similar or names[:5])
        if algorithm_id not in names and listed:
            error.replace_hint(f"Did you mean {listed}?" if similar else f"The service has {listed}.")

    def _task(self, method: str, job_id: str, *, deadline: float | None = None, wait: float = 0.0) -> TaskSnapshot:
        path = _with_query(f"/algorithms/tasks/{quote_segment(job_id)}", {"wait": f"{wait:.1f}" if wait else None})
        answer = self.connection.request(method, path, deadline=deadline, wait=wait)
        state = parse_response("a task", TaskSnapshot.from_dict, answer.data)
        _check_id("task", job_id, state.job_id)
        return state

    def _file(self, algorithm_id: str, noun: str, file_type: str | None, version: str | None, *, accept: str) -> bytes:
        for name, value in {"file_type": file_type, "version": version}.items():
            if value is not None and not isinstance(value, str):
                raise InvalidRequestError(f"{name} is {value!r:.100}.", hint="Give a string, or omit the argument.")
        path = _with_query(f"/algorithms/{quote_segment(algorithm_id)}/{noun}", {"type": file_type, "version": version})
        with self.suggesting_names(algorithm_id):
            data: bytes = self.connection.request("GET", path, accept=accept).data
        return data

    def _list(self, noun: str, path: str) -> list[Any]:
        data = self.connection.request("GET", path).data
        if not isinstance(data, list):
            raise unexpected_response(noun)
        return data

    def _pages(self, requested: dict[str, Any], page: tuple[list[TaskSummary], str | None]) -> Iterator[TaskSummary]:
        while True:
            tasks, cursor = page
            yield from tasks
            if cursor is None:
                return
            page = self._page({**requested, "cursor": cursor})

    def _page(self, requested: dict[str, Any]) -> tuple[list[TaskSummary], str | None]:
        data = self.connection.request("GET", _with_query("/algorithms/tasks", requested)).data
        if not isinstance(data, dict) or not isinstance(data.get("tasks"), list):
            raise unexpected_response("a page of tasks")
        tasks = [parse_response("a task", TaskSummary.from_dict, item) for item in data["tasks"]]
        return tasks, data.get("next_cursor")


def quote_segment(name: str, hint: str = "Give the id as a string.") -> str:
    """Quote a name as one segment of a path, so that it can't change the rest of the path.

    Raises:
        InvalidRequestError: The name is not a string, is empty, or can't be encoded.
    """
    if isinstance(name, str) and name not in ("", ".", ".."):
        # A lone surrogate, as in a file name that isn't UTF-8, can't be encoded in a URL.
        with contextlib.suppress(UnicodeEncodeError):
            return quote(name, safe="")
    raise InvalidRequestError(f"{name!r:.100} is not an id.", hint=hint)


def _with_query(path: str, parameters: Mapping[str, Any]) -> str:
    given = {name: value for name, value in parameters.items() if value is not None}
    for name, value in given.items():
        if isinstance(value, str) and has_lone_surrogate(value):
            raise InvalidRequestError(f"{name} has a lone surrogate.", hint="Check how the string is made.")
    return f"{path}?{urlencode(given)}" if given else path


def _check_id(noun: str, requested: str, received: str) -> None:
    """Raise if the response is about another object than the request."""
    if received != requested:
        raise ServiceError(
            f"The service was asked for the {noun} {requested!r:.100} and responded with {received!r:.100}.",
            hint="A proxy or a shared connection between client and service mixes up responses: use neither.",
        )
