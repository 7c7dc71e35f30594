"""Routes of the output files of tasks: their list, and their content."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from callback_sdk.service.access.caller import Caller, Right
from callback_sdk.service.api import schemas
from callback_sdk.service.api.access import AppState, CallerDep, StateDep, task_of
from callback_sdk.service.api.downloads import StoredContent, file_response
from callback_sdk.service.api.views import show_file
from callback_sdk.service.core import TaskService
from callback_sdk.service.store.models import TaskFile

_ANSWERS = schemas.answers(401, 404, 422, 503)
_BYTES = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file. Its ETag is the SHA-256 in hex.", "content": _BYTES},
    206: {"description": "The requested range: a single one, of bytes.", "content": _BYTES},
    304: {"description": "The client has the file."},
    **schemas.answers(416),
}

router = APIRouter(prefix="/api/v2", tags=["tasks"])


@router.get("/algorithms/tasks/{job_id}/outputs", response_model=list[schemas.OutputFileResponse], responses=_ANSWERS)
def list_outputs(job_id: str, state: StateDep, caller: CallerDep) -> list[dict[str, Any]]:
    task_of(state, caller, job_id, Right.READ, viewing="results-read")
    return [show_file(file) for file in state.task_service.store.output_files.of(job_id)]


@router.get("/algorithms/tasks/{job_id}/outputs/{name:path}", response_model=None, responses={**_ANSWERS, **_CONTENT})
def get_output(job_id: str, name: str, request: Request, state: StateDep, caller: CallerDep) -> Response:
    return _file(job_id, name, request, state, caller)


@router.head("/algorithms/tasks/{job_id}/outputs/{name:path}", response_model=None, responses={**_ANSWERS, **_CONTENT})
def head_output(job_id: str, name: str, request: Request, state: StateDep, caller: CallerDep) -> Response:
    return _file(job_id, name, request, state, caller)


def _file(job_id: str, name: str, request: Request, state: AppState, caller: Caller) -> Response:
    task_of(state, caller, job_id, Right.READ, viewing="results-read")
    file = output_file(state.task_service, job_id, name)
    content = StoredContent(state.task_service.store, state.task_service.blobs)
    return file_response(content, file, request.headers, method=request.method)


def output_file(task_service: TaskService, job_id: str, name: str) -> TaskFile:
    """Return an output file of a task.

    Raises:
        HTTPException: 404 if the task has no such output file.
    """
    found = None if "\0" in name else task_service.store.output_files.get(job_id, name)
    if found is None:
        raise HTTPException(404, f"The task {job_id} has no output file {name!r:.200}.")
    return found
