"""Routes of the output of tasks: all that is stored, and what is new since the last request."""

from __future__ import annotations

import codecs
import re
from typing import Annotated, Any

from attrs import define
from fastapi import APIRouter, HTTPException, Query, Response

from callback_sdk.service.access.caller import Right
from callback_sdk.service.api import schemas
from callback_sdk.service.api.access import CallerDep, StateDep, task_of
from callback_sdk.service.store.output import StoredOutput

_ANSWERS = schemas.answers(401, 404, 422, 503)
_PLAIN: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

router = APIRouter(prefix="/api/v2", tags=["tasks"])


@define(frozen=True)
class _Position:
    """A position in a task's output: the number of the run, and bytes of its output."""

    attempt: int = 0
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.attempt}.{self.offset}"


@router.get("/algorithms/tasks/{job_id}/logs", response_model=None, responses={**_ANSWERS, **_PLAIN})
def get_logs(job_id: str, state: StateDep, caller: CallerDep) -> Response:
    task_of(state, caller, job_id, Right.SEE, viewing="logs-viewed")
    return Response(show_output(state.task_service.store.output.read(job_id)), media_type="text/plain")


@router.get("/algorithms/tasks/{job_id}/logs/new", response_model=schemas.OutputResponse, responses=_ANSWERS)
def get_new_logs(
    job_id: str, state: StateDep, caller: CallerDep, cursor: Annotated[str | None, Query(max_length=40)] = None
) -> dict[str, Any]:
    task_of(state, caller, job_id, Right.SEE, viewing="logs-viewed")
    output = state.task_service.store.output
    # Before the output is read, so that nothing is missing at its end.
    ended = output.is_complete(job_id)
    after = _Position() if cursor is None else _parse(cursor)
    text, position = new_output(output.read(job_id), after, ended=ended)
    return {"text": text, "cursor": str(position), "ended": ended}


def show_output(output: StoredOutput) -> str:
    """Return the stored output, with a note about what was dropped."""
    text, _ = new_output(output, _Position(), ended=True)
    return text


def new_output(output: StoredOutput, after: _Position, *, ended: bool) -> tuple[str, _Position]:
    """Return the output after a position, with notes about what is missing, and the position of its end.

    Args:
        output: The stored output of the last run.
        after: The position that the client has reached.
        ended: Whether the output is complete: otherwise a character may be cut off at its end.
    """
    if not output.data or output.attempt < after.attempt:
        return "", after
    is_new_run = output.attempt > after.attempt
    offset = 0 if is_new_run else after.offset
    note = f"\n[run {output.attempt}]\n" if is_new_run and after.attempt else ""
    if offset < output.start:
        note += f"[{output.start - offset} bytes of earlier output were dropped]\n"
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    data = output.data[max(0, offset - output.start) :]
    text = decoder.decode(data, final=ended)
    return note + text, _Position(output.attempt, output.end - len(decoder.getstate()[0]))


def _parse(cursor: str) -> _Position:
    match = re.fullmatch(r"([0-9]{1,9})\.([0-9]{1,18})", cursor, re.ASCII)
    if match is None:
        raise HTTPException(422, "Invalid cursor. Send 'cursor' of the previous response unchanged.")
    return _Position(int(match[1]), int(match[2]))
