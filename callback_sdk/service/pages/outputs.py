"""Routes of the web UI for output files: download, preview, and the images of previews."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from callback_sdk.outputs.preview import MAX_PREVIEW, image_type, preview
from callback_sdk.service.access.caller import Right
from callback_sdk.service.api.access import AppState, task_of
from callback_sdk.service.api.downloads import SAFE_HEADERS, StoredContent, file_response
from callback_sdk.service.api.outputs import output_file
from callback_sdk.service.pages.auth import caller
from callback_sdk.service.pages.rendering import render
from callback_sdk.service.store.models import TaskFile


def download(request: Request) -> Response:
    content, file = _file(request)
    return file_response(content, file, request.headers, method=request.method)


def show(request: Request) -> Response:
    content, file = _file(request)
    found = preview(file.name, _whole(content, file)) if file.size <= MAX_PREVIEW else None
    return render(request, "output.html", job_id=file.job_id, file=file, preview=found)


def image(request: Request) -> Response:
    """Return an image inline. Its type is that of its content, never a type that could run scripts."""
    content, file = _file(request)
    data = _whole(content, file) if file.size <= MAX_PREVIEW else b""
    media_type = image_type(data)
    if media_type is None:
        raise HTTPException(404, "The output file is not an image that is shown here. Download it.")
    return Response(data, media_type=media_type, headers=SAFE_HEADERS)


def _file(request: Request) -> tuple[StoredContent, TaskFile]:
    state: AppState = request.app.state.app_state
    job_id, name = request.path_params["job_id"], request.path_params["name"]
    task_of(state, caller(request), job_id, Right.READ, viewing="results-read")
    content = StoredContent(state.task_service.store, state.task_service.blobs)
    return content, output_file(state.task_service, job_id, name)


def _whole(content: StoredContent, file: TaskFile) -> bytes:
    return b"".join(content.chunks(file, 0, file.size))
