"""Log formats: text or JSON, with task and request ids."""

from __future__ import annotations

import json
import logging
from contextvars import ContextVar
from typing import Any

from callback_sdk.errors import MissingExtraError
from callback_sdk.text.escaping import LogFormatter, escape_json

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Id of the current HTTP request."""

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_JSON = "%(asctime)s %(levelname)s %(name)s %(message)s"


def log_to_stderr(style: str = "text") -> None:
    """Send log lines to standard error.

    Args:
        style: `"text"`, or `"json"` for one object a line: time, level, logger, message, and such facts as `action`,
            `job_id`, `attempt`, `delivery_id` and `request_id`.

    Raises:
        MissingExtraError: The style is `"json"`, and python-json-logger is not installed.
    """
    handler = logging.StreamHandler()
    handler.addFilter(_add_request_id)
    if style == "json":
        try:
            from pythonjsonlogger.json import JsonFormatter
        except ModuleNotFoundError:
            raise MissingExtraError("python-json-logger", extra="service") from None
        names = {"asctime": "time", "levelname": "level", "name": "logger"}
        # JSON escapes what a terminal would obey, but for one character.
        handler.setFormatter(JsonFormatter(_JSON, rename_fields=names, json_serializer=_dump))
    else:
        handler.setFormatter(LogFormatter(_TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # Without this, the warnings module writes to stderr directly, in its own format.
    logging.captureWarnings(True)
    for noisy in ("alembic", "uvicorn", "urllib3", "botocore", "amqp", "kombu"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _dump(*arguments: Any, **options: Any) -> str:
    return escape_json(json.dumps(*arguments, **options))


def _add_request_id(record: logging.LogRecord) -> bool:
    if (current := request_id.get()) is not None and not hasattr(record, "request_id"):
        record.request_id = current
    return True
