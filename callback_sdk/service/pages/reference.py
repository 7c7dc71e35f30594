"""The API reference at `/docs`: Swagger UI, from the files of the package fastapi-swagger, without other hosts.

The page is sandboxed: its script has no access to the cookies and pages of this origin, and sends no requests. So the
page contains the OpenAPI document, and examples can't be tried out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from callback_sdk.service.api.app import openapi_document

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

PATH = "/docs"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox allow-scripts"
)
_HEADERS = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"}

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>REST API of callback_sdk</title>
<link rel="stylesheet" href="{root}/docs/files/swagger-ui.css">
</head>
<body>
<noscript>This page needs JavaScript. <a href="{root}/openapi.json">The OpenAPI document</a> has the same.</noscript>
<div id="reference"></div>
<script type="application/json" id="openapi">{document}</script>
<script src="{root}/docs/files/swagger-ui-bundle.js"></script>
<script src="{root}/ui/static/reference.js"></script>
</body>
</html>
"""


def add_reference(app: FastAPI) -> None:
    """Add the page, and the files of Swagger UI, to the application.

    Without the package, which has nothing but these files, the page is the OpenAPI document itself.
    """
    if find_spec("fastapi_swagger") is None:
        app.add_route(PATH, _document, include_in_schema=False)
        return
    files = StaticFiles(packages=[("fastapi_swagger", "resources")])
    app.mount(f"{PATH}/files", _with_headers(files))
    app.add_route(PATH, _page(app), include_in_schema=False)


async def _document(request: Request) -> Response:
    return RedirectResponse(f"{request.scope.get('root_path', '').rstrip('/')}/openapi.json", 303)


def _page(app: FastAPI) -> Callable[[Request], Response]:
    @lru_cache(maxsize=4)
    def document(root: str) -> str:
        return _script_json(openapi_document(app, root))

    def page(request: Request) -> Response:
        root = request.scope.get("root_path", "").rstrip("/")
        return HTMLResponse(_PAGE.format(root=root, document=document(root)), headers=_HEADERS)

    return page


def _script_json(document: dict[str, Any]) -> str:
    """Return a JSON document for a script element, whose end it must not contain (HTML, section 4.12.1.3)."""
    return json.dumps(document).replace("<", "\\u003c")


def _with_headers(files: StaticFiles) -> Any:
    """Return an ASGI application that lets browsers keep the files for a day."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def with_caching(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"cache-control", b"max-age=86400")]}
            await send(message)

        await files(scope, receive, with_caching)

    return serve
